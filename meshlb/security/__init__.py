"""Who is who, who may do what, and the files that prove it.

``identity`` and ``roles`` are pure. ``material`` reads certificates and keys, ``server_tls`` and
``client_tls`` make gRPC credentials of them that follow their files, ``tokens`` knows the bearers,
``diagnose`` says in words why a connection was refused, and ``certs`` makes a development CA.
"""
