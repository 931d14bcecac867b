"""Who is who, who may do what, and the files that prove it.

``identity``, ``roles`` and ``pace`` are pure. ``material`` reads certificates and keys,
``following`` reads them again as they change, ``own`` looks at our own; ``server_tls`` and
``client_tls`` make gRPC credentials of them, ``tokens`` knows the bearers, ``diagnose`` says in
words why a connection was refused, and ``certs`` makes a development CA.
"""
