"""Make a development CA, and certificates for controller, nodes, clients and people.

Without --role it makes one of each, and a meshlb.toml that uses them. An authority that is in DIR
already signs the new ones; nothing that is there is overwritten without --force. The authority's
key lies beside them, so this is for development: in production let your own authority sign names
of the same form.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

from meshlb.checks import NAME
from meshlb.errors import ConflictError, InvalidInputError
from meshlb.security import certs
from meshlb.security.certs import Pair

HOSTS = ("localhost", "127.0.0.1", "::1")
ROLES = ("controller", "node", "client", "operator", "viewer")
AUTHORITY_DAYS = 3650


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("dir", metavar="DIR", help="folder for the files; made if it is not there")
    parser.add_argument("--role", choices=ROLES, help="one certificate only, of this role")
    parser.add_argument(
        "--name", metavar="NAME", help="names its files (default: the role); with --role"
    )
    parser.add_argument(
        "--service",
        action="append",
        default=[],
        metavar="NAME",
        help="service of node and client (default: all services)",
    )
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="HOST",
        help="DNS name or IP address of controller and node; may be given several times "
        f"(default {', '.join(HOSTS)})",
    )
    parser.add_argument(
        "--domain", default="meshlb.local", help="SPIFFE trust domain (default %(default)s)"
    )
    parser.add_argument(
        "--days", default="30", metavar="N", help="how long they hold (default %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite all but the authority")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the arguments ask for, checked."""

    folder: Path
    names: dict[str, str]
    """Role by name of its files."""
    service: str
    hosts: tuple[str, ...]
    domain: str
    days: int

    def uri(self, role: str) -> str:
        """Return the SPIFFE URI of a role's certificate."""
        of = f"/{self.service}" if self.service and role in ("node", "client") else ""
        return f"spiffe://{self.domain}/meshlb/{role}{of}"


def run(args: argparse.Namespace) -> int:
    """Make them, and say what to do with them."""
    wanted = _wanted(args)
    folder = wanted.folder
    config = folder / "meshlb.toml" if args.role is None else None
    files = [folder / f"{name}{end}" for name in wanted.names for end in (".pem", ".key")]
    there = [path.name for path in (*files, *([config] if config else [])) if path.exists()]
    if there and not args.force:
        raise ConflictError(
            f"DIR = {str(folder)!r}: {', '.join(there)} would be overwritten; that needs --force, "
            "or choose another --name or DIR"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"DIR = {str(folder)!r}: a folder ({error.strerror})") from error
    authority = _authority(folder, wanted.domain)
    for name, role in wanted.names.items():
        hosts = wanted.hosts if role in ("controller", "node") else ()
        made = certs.new_certificate(authority, hosts, wanted.uri(role), wanted.days)
        # The certificate last: whoever follows the files sees a pair that does not fit, then one
        # that does.
        certs.write(folder / f"{name}.key", made.key, secret=True)
        certs.write(folder / f"{name}.pem", made.cert, secret=False)
        print(f"{folder / name}.pem  {wanted.uri(role)}  {' '.join(hosts)}".rstrip())
    if config is not None:
        certs.write(config, _config(folder).encode(), secret=False)
        print(_next(folder, wanted, config))
    return 0


def _wanted(args: argparse.Namespace) -> _Wanted:
    faults = []
    if args.name is not None and args.role is None:
        faults.append(f"--name = {args.name!r}: only together with --role")
    name = args.name or args.role
    if name is not None and (not NAME.match(name) or name == "ca" or name.startswith(".")):
        faults.append(f"--name = {name!r}: 1 to 128 characters of A-Z a-z 0-9 . _ -, and not ca")
    if len(args.service) > 1:
        faults.append("--service: one; for a certificate of several write rules, [[access.rule]]")
    faults += [
        f"--service = {service!r}: 1 to 128 characters of A-Z a-z 0-9 . _ -"
        for service in args.service
        if not NAME.match(service)
    ]
    wrong = {host: certs.host_fault(host) for host in args.host}
    faults += [f"--host = {host!r}: {allowed}" for host, allowed in wrong.items() if allowed]
    if not re.fullmatch(r"[a-z0-9._-]{1,255}", args.domain):
        faults.append(f"--domain = {args.domain!r}: 1 to 255 characters of a-z 0-9 . _ -")
    days = int(args.days) if args.days.isascii() and args.days.isdigit() else 0
    if not 1 <= days <= AUTHORITY_DAYS:
        faults.append(f"--days = {args.days!r}: a whole number from 1 to {AUTHORITY_DAYS}")
    if faults:
        raise InvalidInputError(faults)
    return _Wanted(
        folder=Path(args.dir).absolute(),
        names={name: args.role} if args.role else {role: role for role in ROLES},
        service=args.service[0] if args.service else "",
        hosts=tuple(args.host) or HOSTS,
        domain=args.domain,
        days=days,
    )


def _authority(folder: Path, domain: str) -> Pair:
    """Return the authority of a folder, made now if there is none."""
    cert, key = folder / "ca.pem", folder / "ca.key"
    if cert.exists() or key.exists():
        try:
            return Pair(cert.read_bytes(), key.read_bytes())
        except OSError as error:
            raise InvalidInputError(
                f"DIR = {str(folder)!r}: with both ca.pem and ca.key, or neither ({error.strerror})"
            ) from error
    made = certs.new_authority(f"meshlb development CA of {domain}", AUTHORITY_DAYS)
    certs.write(key, made.key, secret=True)
    certs.write(cert, made.cert, secret=False)
    print(f"{cert}  a new authority; whoever has {key} can make any certificate")
    return made


def _config(folder: Path) -> str:
    def quoted(name: str) -> str:
        return json.dumps(str(folder / name), ensure_ascii=False)

    return (
        "# Everybody comes with a certificate of this authority; its SPIFFE URI tells the role.\n"
        "[controller.tls]\n"
        f"cert = {quoted('controller.pem')}\n"
        f"key = {quoted('controller.key')}\n"
        f"client_ca = {quoted('ca.pem')}\n"
    )


def _next(folder: Path, wanted: _Wanted, config: Path) -> str:
    service = wanted.service or "NAME"

    def flags(name: str) -> str:
        return f"--ca {folder}/ca.pem --cert {folder}/{name}.pem --key {folder}/{name}.key"

    return f"""
next:
  meshlb controller --config {config}
  meshlb-sidecar --controller {wanted.hosts[0]}:7700 --service {service} --node HOST:PORT \\
    {flags("node")}
  meshlb services --controller {wanted.hosts[0]}:7700 {flags("operator")}
in a client:
  credentials = meshlb.tls(
      ca="{folder}/ca.pem", cert="{folder}/client.pem", key="{folder}/client.key"
  )
  # nodes that serve plain text: insecure_channel, and these for the controller alone
  channel = meshlb.insecure_channel(
      "mesh://{wanted.hosts[0]}:7700/{service}",
      options=[("meshlb.controller_credentials", credentials)],
  )"""
