"""What outlives a killed controller, in one SQLite file written by one thread.

Intents, drains and the answers to requests are written in one transaction, and told to be done when
that is on disk. Decisions follow behind: one that cannot be written waits in memory, and is no
reason to stop. Without a path all is kept in memory, under the same rules.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog

from meshlb.controller import intent as intents
from meshlb.controller.intent import Drain, Intent, Learned
from meshlb.controller.state_file import StateFile, damaged
from meshlb.errors import StateError

log = structlog.get_logger()
T = TypeVar("T")
KEEP_ANSWERS_S = 7 * 86_400.0
MOST_WAITING = 10_000
"""Decisions held in memory while they cannot be written; the oldest go first."""
MOST_IN_MEMORY = 10_000
PRUNE_EVERY_S = 600.0
LEDGER_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request was answered."""

    call: str
    digest: bytes
    """Of the request: the same id must ask the same."""
    answer: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decision, as recorded."""

    decision_id: int
    service: str
    decided_at: float
    """Unix seconds."""
    changed: bool
    record_json: str


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction."""

    request_id: str = ""
    """Empty: nobody asked, so there is no answer to keep."""
    answer: Answer | None = None
    """Takes the place of one that the request has already."""
    intent: tuple[str, Intent] | None = None
    drains: Sequence[Drain] = ()
    undrains: Sequence[tuple[str, str]] = ()
    """(service, node_id) each."""


@dataclass(slots=True)
class Kept:
    """All that a restarted controller begins with."""

    intents: dict[str, Intent] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    """Service -> why its stored policy is not understood."""
    learned: dict[str, Learned] = field(default_factory=dict)
    drains: list[Drain] = field(default_factory=list)
    last_decision_id: int = 0


class Store:
    """One controller's durable state. All but ``ledger`` is for one event loop."""

    def __init__(self, path: Path | None, keep_decisions_s: float) -> None:
        """Open the file. Raises InvalidInputError or ConflictError, see ``state_file``."""
        self.path = path
        self._keep_s = keep_decisions_s
        self._file = StateFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="meshlb state")
        self._waiting: list[tuple[Recorded, Learned | None]] = []
        """Written by the store's thread only, like the file."""
        self._pruned_at = 0.0
        self.problem = ""
        """Why decisions cannot be written; empty: they can."""

    async def load(self) -> Kept:
        """Return what is kept. Raises InvalidInputError for a damaged file."""
        return await self._do(self._load)

    async def answer_of(self, request_id: str) -> Answer | None:
        """Return how a request was answered; None: it never was."""
        return await self._do(lambda: self._answer_of(request_id))

    async def commit(self, change: Change) -> None:
        """Write one change; it is on disk after. Raises StateError if nothing is."""
        await self._do(lambda: self._commit(change))

    def record(self, recorded: Recorded, learned: Learned | None) -> None:
        """Write a decision soon, and what was learned with it."""
        self._thread.submit(self._record, recorded, learned)

    async def decisions(
        self, service: str, since: float, until: float, limit: int, changes_only: bool
    ) -> list[Recorded]:
        """Return recorded decisions of [since, until], Unix seconds, newest first."""
        return await self._do(lambda: self._decisions(service, since, until, limit, changes_only))

    def ledger(self, service: str, actuator: str) -> StoreLedger:
        """Return where one actuator keeps what outlives the controller."""
        return StoreLedger(self, service, actuator)

    async def close(self) -> None:
        """Write what waits, and close the file."""
        self._thread.submit(self._file.close)
        await asyncio.to_thread(self._thread.shutdown)

    def run(self, step: Callable[[], T]) -> Future[T]:
        """Run a step on the store's thread, after all that was asked before."""
        return self._thread.submit(step)

    async def _do(self, step: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(step))

    # --- on the store's thread -------------------------------------------------------------

    def _load(self) -> Kept:
        kept = Kept()
        try:
            with self._file.reading() as sql:
                for service, text in sql.execute("SELECT service, intent FROM services"):
                    kept.intents[service], problem = intents.from_json(service, text)
                    if problem:
                        kept.problems[service] = problem
                for service, target, text, ready in sql.execute("SELECT * FROM learned"):
                    kept.learned[service] = intents.learned(service, target, text, ready)
                for row in sql.execute("SELECT service, node_id, reason, by_scaling FROM drains"):
                    kept.drains.append(intents.drain(*row))
                last = sql.execute("SELECT max(decision_id) FROM decisions").fetchone()[0]
                kept.last_decision_id = last or 0
        except (StateError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.path, str(error)) from error
        return kept

    def _answer_of(self, request_id: str) -> Answer | None:
        with self._file.reading() as sql:
            row = sql.execute(
                "SELECT call, digest, answer FROM requests WHERE request_id = ?", (request_id,)
            ).fetchone()
        return None if row is None else Answer(*row)

    def _commit(self, change: Change) -> None:
        with self._file.transaction() as sql:
            if change.intent is not None:
                service, intent = change.intent
                sql.execute(
                    "INSERT OR REPLACE INTO services VALUES (?, ?)",
                    (service, intents.to_json(intent)),
                )
            sql.executemany(
                "INSERT OR REPLACE INTO drains VALUES (?, ?, ?, ?)",
                [(d.service, d.node_id, d.reason, d.by_scaling) for d in change.drains],
            )
            sql.executemany(
                "DELETE FROM drains WHERE service = ? AND node_id = ?", list(change.undrains)
            )
            if change.answer is not None:
                given = change.answer
                sql.execute(
                    "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?)",
                    (change.request_id, given.call, given.digest, given.answer, time.time()),
                )

    def _record(self, recorded: Recorded, learned: Learned | None) -> None:
        self._waiting.append((recorded, learned))
        del self._waiting[:-MOST_WAITING]
        try:
            with self._file.transaction() as sql:
                for one, with_it in self._waiting:
                    sql.execute(
                        "INSERT OR REPLACE INTO decisions VALUES (?, ?, ?, ?, ?)",
                        (one.decision_id, one.service, one.decided_at, one.changed,
                         one.record_json),
                    )  # fmt: skip
                    if with_it is not None:
                        sql.execute(
                            "INSERT OR REPLACE INTO learned VALUES (?, ?, ?, ?)",
                            (
                                one.service,
                                with_it.target,
                                json.dumps(with_it.start_ups_s),
                                with_it.ready,
                            ),
                        )
            self._waiting.clear()
            self._prune(recorded.decided_at)
        except StateError as error:
            if not self.problem:
                log.warning("decisions_not_written", problem=str(error))
            self.problem = str(error)
            return
        if self.problem:
            log.info("decisions_written_again")
            self.problem = ""

    def _prune(self, now: float) -> None:
        if 0 <= now - self._pruned_at < PRUNE_EVERY_S:
            return
        self._pruned_at = now
        with self._file.transaction() as sql:
            sql.execute("DELETE FROM decisions WHERE decided_at < ?", (now - self._keep_s,))
            sql.execute("DELETE FROM requests WHERE answered_at < ?", (now - KEEP_ANSWERS_S,))
            if self.path is None:
                for table, order in (("decisions", "decided_at"), ("requests", "answered_at")):
                    sql.execute(
                        f"DELETE FROM {table} WHERE {order} < (SELECT {order} FROM {table} "  # noqa: S608
                        f"ORDER BY {order} DESC LIMIT 1 OFFSET {MOST_IN_MEMORY})"
                    )

    def _decisions(
        self, service: str, since: float, until: float, limit: int, changes_only: bool
    ) -> list[Recorded]:
        with self._file.reading() as sql:
            rows = sql.execute(
                "SELECT decision_id, service, decided_at, changed, record FROM decisions "
                "WHERE service = ? AND decided_at BETWEEN ? AND ? AND changed >= ? "
                "ORDER BY decided_at DESC, decision_id DESC LIMIT ?",
                (service, since, until, int(changes_only), limit),
            ).fetchall()
        waiting = [
            one
            for one, _ in reversed(self._waiting)
            if one.service == service
            and since <= one.decided_at <= until
            and (one.changed or not changes_only)
        ]
        stored = [Recorded(row[0], row[1], row[2], bool(row[3]), row[4]) for row in rows]
        return (waiting + stored)[:limit]


class StoreLedger:
    """One actuator's ledger. For any thread; each call waits for the disk, so not for the loop."""

    def __init__(self, store: Store, service: str, actuator: str) -> None:
        self._store = store
        self._key = service, actuator

    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """Return all entries."""
        return self._run(self._entries)

    def put(self, replica_id: str, entry: Mapping[str, Any]) -> None:
        """Write one entry, whole; it is on disk after. Raises StateError if it is not."""
        text = json.dumps(entry, allow_nan=False)

        def write() -> None:
            with self._store._file.transaction() as sql:
                sql.execute(
                    "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?)",
                    (*self._key, replica_id, text),
                )

        self._run(write)

    def remove(self, replica_id: str) -> None:
        """Drop one entry; nothing if there is none. Raises StateError if that is not on disk."""

        def write() -> None:
            with self._store._file.transaction() as sql:
                sql.execute(
                    "DELETE FROM ledger WHERE service = ? AND actuator = ? AND replica_id = ?",
                    (*self._key, replica_id),
                )

        self._run(write)

    def _entries(self) -> dict[str, Any]:
        with self._store._file.reading() as sql:
            rows = sql.execute(
                "SELECT replica_id, entry FROM ledger WHERE service = ? AND actuator = ?",
                self._key,
            )
            return {replica_id: json.loads(entry) for replica_id, entry in rows}

    def _run(self, step: Callable[[], T]) -> T:
        return self._store.run(step).result(LEDGER_LIMIT_S)
