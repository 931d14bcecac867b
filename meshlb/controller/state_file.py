"""Opens the SQLite file of ``--state``: locked, checked, in WAL mode, every commit on disk.

One that is damaged, of another program, newer than this code or held by another controller is
refused with what to do; it is never moved, repaired or begun anew behind the operator's back, since
it names the replicas that run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from meshlb import os_process
from meshlb.errors import ConflictError, InvalidInputError, StateError
from meshlb.os_process import ProcessName

APPLICATION_ID = 0x6D_6C_62_62
VERSION = 1
ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged file raises; SQLite quotes what it found there, which need not be text."""
SCHEMA = """
CREATE TABLE services (service TEXT PRIMARY KEY, intent TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE learned (
  service TEXT PRIMARY KEY, target INTEGER, start_ups TEXT NOT NULL,
  ready INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE drains (
  service TEXT, node_id TEXT, reason TEXT NOT NULL, by_scaling INTEGER NOT NULL,
  PRIMARY KEY (service, node_id)) WITHOUT ROWID;
CREATE TABLE requests (
  request_id TEXT PRIMARY KEY, call TEXT NOT NULL, digest BLOB NOT NULL, answer BLOB NOT NULL,
  answered_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (answered_at);
CREATE TABLE decisions (
  decision_id INTEGER PRIMARY KEY, service TEXT NOT NULL, decided_at REAL NOT NULL,
  changed INTEGER NOT NULL, record TEXT NOT NULL);
CREATE INDEX decisions_by_time ON decisions (service, decided_at);
CREATE TABLE ledger (
  service TEXT, actuator TEXT, replica_id TEXT, entry TEXT NOT NULL,
  PRIMARY KEY (service, actuator, replica_id)) WITHOUT ROWID;
"""


class StateFile:
    """One open state file; ``path`` None: in memory, gone with the process. For one thread."""

    def __init__(self, path: Path | None) -> None:
        """Raise InvalidInputError for a file that cannot be used, ConflictError for one in use."""
        self.path = path
        self._lock = -1 if path is None else _locked(path)
        try:
            self.connection = _opened(path)
        except BaseException:
            self._unlock()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; all or nothing is on disk after, StateError if nothing is."""
        try:
            with self.reading() as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; SQLite's errors become StateErrors that a person can act on."""
        try:
            yield self.connection
        except ERRORS as error:
            raise _state_error(self.path, error) from error

    def close(self) -> None:
        """Close the file; twice does no harm."""
        self.connection.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _state_error(path: Path | None, error: Exception) -> StateError:
    name = getattr(error, "sqlite_errorname", "")
    full = name == "SQLITE_FULL"
    return StateError(
        f"state = {str(path)!r}: {error} ({name}); nothing has changed"
        + ("; make room there" if full else ""),
        reason="STATE_FULL" if full else "STATE_UNWRITABLE",
    )


def _locked(path: Path) -> int:
    """Hold a file beside: a lock on the file itself would end SQLite's own locks when closed."""
    beside = Path(f"{path}.lock")
    try:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInputError(
            f"state = {str(path)!r}: a file in a folder that can be written ({error.strerror})",
            reason="INVALID_STATE_PATH",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        who = holder(path)
        pid = f" (pid {who.pid})" if who else ""
        raise ConflictError(
            f"state = {str(path)!r}: another controller holds it{pid}; each has its own",
            reason="STATE_IN_USE",
        ) from error
    own = os_process.name_of(os.getpid())
    if own is not None:
        with contextlib.suppress(OSError):  # on a full disk `meshlb down` cannot tell whom to stop
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(own.to_json()).encode(), 0)
    return handle


def holder(path: Path) -> ProcessName | None:
    """Return who holds the file, as it wrote beside it; None if that process does not run."""
    try:
        written = json.loads(Path(f"{path}.lock").read_bytes())
        name = ProcessName.from_json(written) if isinstance(written, dict) else None
    except (OSError, ValueError):
        return None
    return name if name is not None and os_process.lives(name) else None


def _opened(path: Path | None) -> sqlite3.Connection:
    connection = None
    try:
        if path is not None:
            # Created by us, so that its mode is: it may hold environments of replicas.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False, timeout=5.0
        )
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
    except OSError as error:
        raise InvalidInputError(
            f"state = {str(path)!r}: a file that can be written ({error.strerror})",
            reason="INVALID_STATE_PATH",
        ) from error
    except ERRORS as error:
        if connection is not None:
            connection.close()
        raise damaged(path, str(error)) from error
    except InvalidInputError:
        if connection is not None:
            connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path | None) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not (empty and version == 0) and application != APPLICATION_ID:
        raise InvalidInputError(
            f"state = {str(path)!r}: a state file of meshlb, or none yet; this is another "
            "program's database",
            reason="NOT_A_STATE_FILE",
        )
    if version > VERSION:
        raise InvalidInputError(
            f"state = {str(path)!r}: of version {VERSION} or before; this one, {version}, was "
            "written by a newer meshlb",
            reason="NEWER_STATE_FILE",
        )
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found)


def damaged(path: Path | None, what: str) -> InvalidInputError:
    """Return the error for a file that cannot be read."""
    return InvalidInputError(
        f"state = {str(path)!r}: an undamaged state file ({what}). Nothing was changed. Put a "
        f"backup in its place, or save what can be read with: sqlite3 FILE .recover | sqlite3 NEW; "
        "or move it away to begin without policies and manual targets: replicas that run are not "
        "found again then",
        reason="STATE_DAMAGED",
    )


def ledgers(path: Path) -> Mapping[tuple[str, str], Mapping[str, str]]:
    """Return the ledgers of a state file: (service, actuator) -> replica_id -> entry as JSON.

    The file may be in use. Raises InvalidInputError if it is no state file.
    """
    if not path.is_file():
        raise InvalidInputError(f"state = {str(path)!r}: a file", reason="INVALID_STATE_PATH")
    found: dict[tuple[str, str], dict[str, str]] = {}
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5.0)) as connection:
            rows = connection.execute("SELECT service, actuator, replica_id, entry FROM ledger")
            for service, actuator, replica_id, entry in rows:
                found.setdefault((service, actuator), {})[replica_id] = entry
    except ERRORS as error:
        raise damaged(path, str(error)) from error
    return found
