"""The parameters of ``process``, checked, and the placeholders in its command."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from meshlb.security.client_tls import Tls
from meshlb.security.material import Files

PLACEHOLDERS = ("host", "port", "address", "node_id", "service", "slots")
RESIZES = ("affinity", "nice", "off")
_PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+)\}")


@dataclass(frozen=True)
class Params:
    """``[service.NAME.actuator]`` with ``kind = "process"``. Times are seconds."""

    command: Sequence[str] = ()
    """Program and arguments of the model server; required. ``{host} {port} {address} {node_id}
    {service} {slots}`` are filled in, and {port} or {address} must be there, or in ``env``."""
    sidecar: bool = True
    """Start a sidecar beside each server. False: servers report by themselves."""
    server_ca: str = ""
    """Authority of the servers' certificates, if they have TLS; sidecars get it too."""
    server_cert: str = ""
    """Our own certificate, if servers ask for one."""
    server_key: str = ""
    """Its private key."""
    authority: str = ""
    """TLS name of the servers, if it is not their host; sidecars tell it."""
    sidecar_args: Sequence[str] = ()
    """More arguments of each sidecar, such as its certificates."""
    host: str = "127.0.0.1"
    """Where servers listen and clients dial."""
    slots: int | None = None
    """Calls that one server serves at once; None: learned."""
    zone: str = ""
    """Failure domain that sidecars tell."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the server's environment; placeholders are filled in here too."""
    cwd: str = ""
    """Folder to run servers in; empty: the controller's."""
    ready_limit_s: float = 600.0
    """A server that is not healthy this long after its start is ended; 1 to 86400."""
    grace_s: float = 30.0
    """From SIGTERM to SIGKILL; 0 to 86400."""
    backoff_s: float = 1.0
    """Wait after the first failed start; it doubles with each one more. 0.01 to 3600."""
    backoff_max_s: float = 60.0
    """Longest such wait; backoff_s to 86400."""
    log_dir: str = ""
    """Folder for the output of servers and sidecars; empty: ``meshlb/logs`` in XDG_STATE_HOME."""
    resize: str = "affinity"
    """How cores are given to a running server: "affinity", "nice" or "off"."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        if not _texts(self.command) or not self.command or not self.command[0]:
            return [f"command = {self.command!r}: a list of texts, the program first"]
        if not isinstance(self.env, Mapping) or not _texts([*self.env, *self.env.values()]):
            return [f"env = {self.env!r}: a table of texts"]
        found = []
        texts = (*self.command, *self.env.values())
        used = {name for text in texts for name in _PLACEHOLDER.findall(text)}
        found += [
            f"command = {{{name}}}: one of {', '.join(f'{{{p}}}' for p in PLACEHOLDERS)}"
            for name in sorted(used - set(PLACEHOLDERS))
        ]
        if not used & {"port", "address"}:
            found.append(
                f"command = {list(self.command)!r}: with {{port}} or {{address}}, there or in env, "
                "so that each server listens at a port of its own"
            )
        if "slots" in used and self.slots is None:
            found.append("slots = none: a number, since {slots} is used")
        if self.slots is not None and not _whole(self.slots, 1, 1_000_000):
            found.append(f"slots = {self.slots!r}: a whole number from 1 to 1000000")
        for name, least, most in (
            ("ready_limit_s", 1, 86400),
            ("grace_s", 0, 86400),
            ("backoff_s", 0.01, 3600),
            ("backoff_max_s", 0.01, 86400),
        ):
            if not _number(getattr(self, name), least, most):
                found.append(f"{name} = {getattr(self, name)!r}: from {least:g} to {most:g}")
        if not found and self.backoff_max_s < self.backoff_s:
            found.append(f"backoff_max_s = {self.backoff_max_s!r}: at least backoff_s")
        if not _texts(self.sidecar_args):
            found.append(f"sidecar_args = {self.sidecar_args!r}: a list of texts")
        if not isinstance(self.sidecar, bool):
            found.append(f"sidecar = {self.sidecar!r}: true or false")
        if self.resize not in RESIZES:
            found.append(f"resize = {self.resize!r}: one of {', '.join(RESIZES)}")
        if not isinstance(self.host, str) or not re.fullmatch(r"[^\s/,@\[\]]{1,253}", self.host):
            found.append(f"host = {self.host!r}: a host name or IP address")
        found += [
            f"{name} = {getattr(self, name)!r}: printable text"
            for name in (
                "zone", "cwd", "log_dir", "authority", "server_ca", "server_cert", "server_key",
            )
            if not _texts([getattr(self, name)])
        ]  # fmt: skip
        if not found:
            files = Files(self.server_ca, self.server_cert, self.server_key)
            found += files.faults("server_")
        return found

    def tls(self) -> Tls | None:
        """Return what servers are dialled with; None: plain text. Raises InvalidInputError."""
        if not (self.server_ca or self.server_cert):
            return None
        return Tls(
            ca=self.server_ca or None,
            cert=self.server_cert or None,
            key=self.server_key or None,
        )

    def logs(self) -> Path:
        """Return the folder for logs."""
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(self.log_dir) if self.log_dir else Path(state) / "meshlb" / "logs"


def address_of(host: str, port: int) -> str:
    """Return HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled in; other braces stay as they are."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def _texts(values: Sequence[object]) -> bool:
    return not isinstance(values, str) and all(
        isinstance(value, str) and "\0" not in value and len(value) < 100_000 for value in values
    )


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: object, least: float, most: float) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) and least <= value <= most
