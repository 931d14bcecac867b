"""Bearer tokens: a file of names, SHA-256 digests and roles, read again when it changes.

    [token.ci]
    sha256 = "9f86d0..."
    roles = ["operator"]
    services = ["llama"]      # absent: all

The file holds no token, so it is no secret; it says who may do what, so it must not be writable
for others.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlb.checks import NAME
from meshlb.errors import InvalidInputError
from meshlb.security.following import LOOK_EVERY_S, Note
from meshlb.security.identity import Identity, Kind
from meshlb.security.material import signature
from meshlb.security.roles import Rule
from meshlb.security.rule_text import read_rule

KEYS = {"sha256", "roles", "services", "addresses"}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose token it is, and what it grants."""

    name: str
    digest: bytes
    rule: Rule


class Tokens:
    """The tokens of one controller; used from one thread."""

    def __init__(self, path: str, note: Note, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file now. Raises InvalidInputError if it cannot be used."""
        self._path = path
        self._note = note
        self._clock = clock
        self._seen = signature((path,))
        self._looked_at = clock()
        self._bearers = load(path)
        self._problem = ""

    def of(self, token: str) -> Bearer | None:
        """Return whose token it is; None: nobody's. Takes as long for any token of a length."""
        self._follow()
        digest = hashlib.sha256(token.encode()).digest()
        found = None
        for bearer in self._bearers:
            if hmac.compare_digest(bearer.digest, digest):
                found = bearer
        return found

    def _follow(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        seen = signature((self._path,))
        if seen == self._seen and not self._problem:
            return
        try:
            fresh = load(self._path)
        except InvalidInputError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._note("tokens_not_taken", f"{error}; the last good ones go on")
            return
        self._seen, self._problem = seen, ""
        if fresh != self._bearers:
            self._bearers = fresh
            self._note("tokens_changed", self._path)


def in_metadata(metadata: Iterable[tuple[str, Any]] | None) -> str | None:
    """Return the bearer token of a call; None: it has none, "": authorization of another kind."""
    for key, value in metadata or ():
        if key == "authorization":
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            kind, _, token = text.partition(" ")
            return token.strip() if kind.lower() == "bearer" else ""
    return None


def identity_of(bearer: Bearer, peer_host: str) -> Identity:
    """Return the identity of whoever holds a token."""
    name = f"token {bearer.name}"
    return Identity(Kind.TOKEN, name, (), (), peer_host)


def load(path: str) -> tuple[Bearer, ...]:
    """Read a file of tokens. Raises InvalidInputError with all its faults."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"tokens = {path!r}: a readable file ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"tokens = {path!r}: valid TOML ({error})") from error
    faults = [f"{key}: not a key; known: token" for key in raw.keys() - {"token"}]
    found: list[Bearer] = []
    entries = raw.get("token", {})
    for name, entry in entries.items() if isinstance(entries, Mapping) else ():
        bearer = _bearer(str(name), entry, faults)
        if bearer is not None:
            found.append(bearer)
    if not isinstance(entries, Mapping):
        faults.append("token: tables, such as [token.ci]")
    if faults:
        raise InvalidInputError([f"tokens = {path!r}: {fault}" for fault in faults])
    return tuple(found)


def _bearer(name: str, entry: Any, faults: list[str]) -> Bearer | None:
    at = f"token.{name}"
    if not NAME.match(name) or not isinstance(entry, Mapping):
        faults.append(f"{at}: a table, its name of 1 to 128 characters of A-Z a-z 0-9 . _ -")
        return None
    before = len(faults)
    faults += [
        f"{at}.{key}: not a key; known: {', '.join(sorted(KEYS))}" for key in entry.keys() - KEYS
    ]
    digest = entry.get("sha256")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        # What is there instead may be the token itself.
        faults.append(f"{at}.sha256: 64 hexadecimal digits, the SHA-256 of the token")
    rule = read_rule(name, entry, at, faults)
    if len(faults) > before or rule is None:
        return None
    return Bearer(name, bytes.fromhex(str(digest)), rule)
