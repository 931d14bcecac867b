"""gRPC server credentials that follow their files: new handshakes get the new certificate."""

from __future__ import annotations

import grpc

from meshlb.security.following import Following, Note
from meshlb.security.material import Files, Material


class ServerTls:
    """The TLS of one server; calls and connections that there are go on through every change."""

    def __init__(self, files: Files, note: Note) -> None:
        """``files.ca`` are the authorities of clients; without it no client has to have a name.

        Raises InvalidInputError if the files cannot be used.
        """
        self._following = Following(files, note)
        self._mutual = bool(files.ca)

    def credentials(self, *, ask_clients: bool = True) -> grpc.ServerCredentials:
        """Return the credentials of one port; ``ask_clients`` False: of one without mTLS."""
        ca = self._mutual and ask_clients
        generation, material = self._following.newest()
        first = _configuration(material, ca)
        # gRPC asks on every handshake, from a thread of its own, and takes None for "as before".
        given = [generation]

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            generation, material = self._following.newest()
            if generation == given[0]:
                return None
            given[0] = generation
            return _configuration(material, ca)

        made: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            first,
            fetch,  # type: ignore[arg-type]
            ca,
        )
        return made


def _configuration(material: Material, ca: bool) -> grpc.ServerCertificateConfiguration:
    assert material.key is not None
    assert material.cert is not None
    made: grpc.ServerCertificateConfiguration = grpc.ssl_server_certificate_configuration(
        [(material.key, material.cert)], root_certificates=material.ca if ca else None
    )
    return made
