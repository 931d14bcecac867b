"""Authorities and certificates for tests, made once a run."""

from pathlib import Path

from meshlb.security import certs
from meshlb.security.client_tls import Tls
from meshlb.security.material import Files

HOSTS = ("localhost", "127.0.0.1")


class Pki:
    """One authority in a folder, and what it signs."""

    def __init__(self, folder: Path, name="ca"):
        self.folder = folder
        self.authority = certs.new_authority(name, 10)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self.authority.cert)

    def made(self, uri=None, hosts=(), days=5):
        return certs.new_certificate(self.authority, hosts, uri, days)

    def write(self, name, uri=None, hosts=(), days=5, ca=None):
        """Write a certificate and its key, over those of the same name; return the files."""
        made = self.made(uri, hosts, days)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certs.write(key, made.key, secret=True)
        certs.write(cert, made.cert, secret=False)
        return Files(str(self.ca if ca is None else ca), str(cert), str(key))

    def tls(self, role, *more, **named):
        """Return client credentials of a role, by SPIFFE URI."""
        uri = "/".join(("spiffe://test.local/meshlb", role, *more))
        files = self.write("-".join((role, *more)), uri, **named)
        return Tls(ca=files.ca, cert=files.cert, key=files.key)

    def controller(self):
        """Return the sections of a configuration with mTLS."""
        files = self.write("controller", "spiffe://test.local/meshlb/controller", HOSTS)
        return {"tls": {"cert": files.cert, "key": files.key, "client_ca": files.ca}}
