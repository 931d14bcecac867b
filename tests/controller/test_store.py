"""The state file: all or nothing, room or not, and what is refused."""

import asyncio
import contextlib
import sqlite3

import pytest

from meshlb.controller import state_file
from meshlb.controller.intent import Drain, Intent, Learned
from meshlb.controller.store import Answer, Change, Recorded, Store
from meshlb.errors import ConflictError, InvalidInputError, StateError
from meshlb.scale_model import Manual, Pause, RuleSpec, ScalePolicy

POLICY = ScalePolicy("s", max=7, rules=(RuleSpec("group", {"target": 8.5}, "mine"),))
INTENT = Intent(POLICY, Manual(count=3, reason="why"), Pause(scale_in=True), 4)
KEEP_S = 1000.0


@contextlib.asynccontextmanager
async def opened(path=None):
    store = Store(path, KEEP_S)
    try:
        yield store
    finally:
        await store.close()


def full(store):
    """Leave the file no room to grow."""
    pages = store._file.connection.execute("PRAGMA page_count").fetchone()[0]
    store._file.connection.execute(f"PRAGMA max_page_count = {pages}")


def roomy(store):
    store._file.connection.execute("PRAGMA max_page_count = 1000000")


def answered(request_id, text=b"answer", **fields):
    return Change(request_id, Answer("SetScale", b"digest", text), **fields)


def test_what_was_committed_is_there_for_the_next_controller(tmp_path):
    path = tmp_path / "state.db"
    drain = Drain("s", "a", "new kernel", by_scaling=False)

    async def write():
        async with opened(path) as store:
            await store.commit(answered("1", intent=("s", INTENT), drains=[drain]))
            await store.commit(Change(drains=[Drain("s", "b", "", by_scaling=True)]))
            await store.commit(Change(undrains=[("s", "b")]))
            store.record(Recorded(9, "s", 50.0, True, "{}"), Learned(5, (1.5, 2.5), 3))

    async def read():
        async with opened(path) as store:
            return await store.load(), await store.answer_of("1"), await store.answer_of("2")

    asyncio.run(write())
    kept, answer, none = asyncio.run(read())

    assert kept.intents == {"s": INTENT}
    assert kept.drains == [drain]
    assert kept.learned == {"s": Learned(5, (1.5, 2.5), 3)}
    assert kept.last_decision_id == 9
    assert answer == Answer("SetScale", b"digest", b"answer")
    assert none is None


def test_without_room_nothing_changes_and_decisions_wait_for_some(tmp_path):
    async def run():
        async with opened(tmp_path / "state.db") as store:
            await store.commit(answered("1", intent=("s", INTENT)))
            full(store)
            with pytest.raises(StateError) as caught:
                await store.commit(answered("2", b"x" * 100_000, intent=("s", Intent())))
            for number in range(1, 4):
                store.record(Recorded(number, "s", float(number), True, "y" * 50_000), Learned(5))
            while_full = await store.decisions("s", 0, 100, 2, changes_only=True)
            problem = store.problem
            roomy(store)
            store.record(Recorded(4, "s", 4.0, False, "{}"), None)
            after = await store.decisions("s", 0, 100, 10, changes_only=False)
            return caught.value, while_full, problem, after, store.problem, await store.load()

    error, while_full, problem, after, healed, kept = asyncio.run(run())

    assert error.reason == "STATE_FULL"
    assert "make room" in str(error)
    assert "full" in problem
    assert [d.decision_id for d in while_full] == [3, 2]
    assert [d.decision_id for d in after] == [4, 3, 2, 1]
    assert healed == ""
    assert kept.intents == {"s": INTENT}


def test_decisions_are_kept_for_so_long_and_no_longer():
    async def run():
        async with opened() as store:
            store.record(Recorded(1, "s", 10.0, True, "old"), None)
            store.record(Recorded(2, "s", 10.0 + 2 * KEEP_S, True, "new"), None)
            return await store.decisions("s", 0, 1e9, 10, changes_only=False)

    assert [d.record_json for d in asyncio.run(run())] == ["new"]


def test_decisions_are_given_newest_first_of_a_span_and_of_one_service():
    async def run():
        async with opened() as store:
            for number in range(1, 7):
                name = "other" if number == 5 else "s"
                store.record(Recorded(number, name, 100.0 + number, number % 2 == 0, ""), None)
            return (
                await store.decisions("s", 102, 104, 10, changes_only=False),
                await store.decisions("s", 0, 200, 2, changes_only=True),
            )

    span, changes = asyncio.run(run())

    assert [d.decision_id for d in span] == [4, 3, 2]
    assert [d.decision_id for d in changes] == [6, 4]


def test_a_ledger_keeps_entries_apart_and_is_read_beside_a_running_controller(tmp_path):
    path = tmp_path / "state.db"

    async def run():
        async with opened(path) as store:
            mine, other = store.ledger("s", "process"), store.ledger("t", "process")
            await asyncio.to_thread(mine.put, "r1", {"pid": 7})
            await asyncio.to_thread(mine.put, "r2", {"pid": 8})
            await asyncio.to_thread(mine.remove, "r2")
            await asyncio.to_thread(mine.remove, "never there")
            await asyncio.to_thread(other.put, "r1", {"pid": 9})
            return await asyncio.to_thread(mine.entries), state_file.ledgers(path)

    mine, all_ = asyncio.run(run())

    assert mine == {"r1": {"pid": 7}}
    assert all_ == {("s", "process"): {"r1": '{"pid": 7}'}, ("t", "process"): {"r1": '{"pid": 9}'}}


def test_a_stored_policy_that_is_no_longer_understood_is_told_and_left_out(tmp_path):
    path = tmp_path / "state.db"
    odd = Intent(ScalePolicy("s", rules=(RuleSpec("of_an_extension"),)), Manual(count=2))

    async def run():
        async with opened(path) as store:
            await store.commit(Change(intent=("s", odd)))
            return await store.load()

    kept = asyncio.run(run())

    assert kept.intents["s"] == Intent(None, Manual(count=2))
    assert "rules[0].kind = 'of_an_extension': one of" in kept.problems["s"]


def damage_pages(path):
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def damage_header(path):
    path.write_bytes(b"no database" + path.read_bytes()[11:])


def damage_row(path):
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute("UPDATE services SET intent = '{]'")
        sql.commit()


def of_another_program(path):
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA application_id = 7")
        sql.commit()


def of_a_newer_version(path):
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA user_version = 99")
        sql.commit()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_pages, "STATE_DAMAGED"),
        (damage_header, "STATE_DAMAGED"),
        (damage_row, "STATE_DAMAGED"),
        (of_another_program, "NOT_A_STATE_FILE"),
        (of_a_newer_version, "NEWER_STATE_FILE"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_name(tmp_path, damage, reason):
    path = tmp_path / "state.db"

    async def write():
        async with opened(path) as store:
            await store.commit(answered("1", b"x" * 50_000, intent=("s", INTENT)))

    async def read():
        async with opened(path) as store:
            await store.load()

    asyncio.run(write())
    damage(path)
    with pytest.raises(InvalidInputError) as caught:
        asyncio.run(read())

    assert caught.value.reason == reason
    assert str(path) in str(caught.value)


def test_a_file_has_one_writer(tmp_path):
    path = tmp_path / "state.db"

    async def run():
        async with opened(path):
            with pytest.raises(ConflictError, match="another controller holds it"):
                Store(path, KEEP_S)
        async with opened(path):
            pass

    asyncio.run(run())
