"""Any content of a state file: it is refused and left as it is, or a controller begins with it."""

import asyncio
import contextlib
import json
import random
import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshlb.controller import intent as intents
from meshlb.controller.intent import Intent
from meshlb.controller.scaling import Scaling
from meshlb.controller.state_file import SCHEMA
from meshlb.controller.store import Store
from meshlb.errors import InvalidInputError, MeshlbError
from meshlb.policy.fleet import Fleet
from meshlb.scale_model import Manual
from meshlb.settings import parse
from tests.fuzz.effort import effort
from tests.fuzz.messages import Bytes, one_of
from tests.fuzz.tables import policy, scalar, value

SETTINGS = parse({"service": {"s": {"scale": {}, "actuator": {"kind": "none"}}}})
COLUMNS = {
    "services": ("service", "intent"),
    "learned": ("service", "target", "start_ups", "ready"),
    "drains": ("service", "node_id", "reason", "by_scaling"),
    "decisions": ("decision_id", "service", "decided_at", "changed", "record"),
    "ledger": ("service", "actuator", "replica_id", "entry"),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """Return the bytes of a state file in which nothing stands."""
    path = tmp_path_factory.mktemp("empty") / "state.db"
    asyncio.run(Store(path, 60).close())
    return path.read_bytes()


def stored_intent(source):
    """Return the JSON of an intent: one that was stored, or with something else in it."""
    made = json.loads(intents.to_json(Intent(None, Manual(3), revision=2)))
    made["policy"] = policy(source, wild=source.below(2) == 0) if source.below(2) else None
    for _ in range(source.below(2)):
        made[one_of(source, ("policy", "manual", "pause", "revision", "x"))] = value(source)
    if source.below(4) == 0:
        made["manual"] = {one_of(source, ("count", "min", "expires_at", "reason")): value(source)}
    text = json.dumps(made, default=str)
    return text[:-3] if source.below(8) == 0 else text


def fill(path, source):
    """Write rows of any content."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as sql:
        for _ in range(1 + source.below(4)):
            table = one_of(source, tuple(COLUMNS))
            columns = COLUMNS[table]
            assert table in SCHEMA
            row = [_cell(name, source) for name in columns]
            marks = ", ".join("?" * len(row))
            with contextlib.suppress(sqlite3.Error, OverflowError):
                sql.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", row)


def _cell(name, source):
    likely = {
        "service": "s", "node_id": "a", "reason": "x", "by_scaling": 0, "target": 2, "ready": 1,
        "start_ups": "[1.5, 2]", "decision_id": 7, "decided_at": 1e9, "changed": 1, "record": "{}",
        "actuator": "none", "replica_id": "r", "entry": "{}",
    }  # fmt: skip
    if source.below(4):
        return stored_intent(source) if name == "intent" else likely[name]
    return one_of(source, (json.dumps(value(source), default=str), str(scalar(source)), -1, 0.5,
                           2**63 - 1, b"\xff\0", None, "[NaN]", "[1e999]"))  # fmt: skip


async def begin(path):
    """Begin as a controller does."""
    store = Store(path, 60)
    try:
        fleet = Fleet(SETTINGS, "c", 1, 0.0)
        scaling = Scaling(fleet, SETTINGS, store)
        await scaling.load()
        for now in (0.1, 5.0):
            fleet.decide(now)
            scaling.tick(now)
        for name in scaling.names():
            scaling.status(scaling.of(name)).SerializeToString()
        await store.decisions("s", 0.0, 2e9, 10, changes_only=False)
    finally:
        await store.close()


def drive(choices, path, content):
    """Begin with a file of these choices; return whether that could be."""
    source = Bytes(choices)
    path.write_bytes(content)
    if source.below(3):
        fill(path, source)
    else:
        raw = bytearray(content[: len(content) * source.below(5) // 4 or None])
        for _ in range(source.below(20) if raw else 0):
            raw[(source.below(256) * 256 + source.below(256)) % len(raw)] = source.below(256)
        path.write_bytes(raw)
    try:
        asyncio.run(begin(path))
    except MeshlbError:
        return False
    return True


@given(st.binary(min_size=30, max_size=300))
@effort(50)
@example(random.Random(1).randbytes(500))
def test_a_state_file_is_refused_or_begun_with(tmp_path_factory, empty, choices):
    drive(choices, tmp_path_factory.getbasetemp() / "any.db", empty)


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": 3}, {"manual": {"count": "x"}}, {"manual": []}, {"pause": None},
        {"revision": 1e400}, {"revision": "1"}, {"pause": {"no such": 1}},
    ],
)  # fmt: skip
def test_an_intent_that_nobody_wrote_is_told_as_a_damaged_file(tmp_path, empty, wrong):
    path = tmp_path / "state.db"
    path.write_bytes(empty)
    text = json.dumps(json.loads(intents.to_json(Intent())) | wrong)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("INSERT INTO services VALUES ('s', ?)", (text,))
    with pytest.raises(InvalidInputError, match="undamaged state file"):
        asyncio.run(begin(path))
