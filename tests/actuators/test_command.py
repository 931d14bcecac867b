"""A user's program as actuator: what it is told, and what is said when it is wrong."""

import asyncio
import json
import os
import re
import sys
import textwrap
import time

import pytest

from meshlb import os_process
from meshlb.actuators import Context, Order, command
from meshlb.actuators.command import Params, build
from meshlb.errors import InvalidInputError, MeshlbError, UnavailableError
from meshlb.scale_model import ReplicaState

# Keeps a list of replicas in a file, and each order that it was given.
PROGRAM = textwrap.dedent("""
    import json, pathlib, sys
    folder, verb = pathlib.Path(sys.argv[1]), sys.argv[-1]
    told = json.load(sys.stdin)
    replicas = folder / "replicas"
    names = json.loads(replicas.read_text()) if replicas.exists() else []
    if verb == "apply":
        with (folder / "orders").open("a") as file:
            print(json.dumps(told), file=file)
        names = [name for name in names if name not in told["stop"]]
        names += [f"r{len(names) + n}" for n in range(told["target"] - len(names))]
        replicas.write_text(json.dumps(names))
    else:
        with (folder / "looks").open("a") as file:
            print(json.dumps(told), file=file)
        print(json.dumps({"replicas": [
            {"replica_id": name, "node_id": name, "state": "ready"} for name in names]}))
""")


def order(target, start=0, stop=(), **more):
    return Order("s", target, start, stop, 7, "load", **more)


class Ledger(dict):
    """In memory."""

    def entries(self):
        return dict(self)

    put = dict.__setitem__
    remove = dict.__delitem__


def made(*command, ledger=None, **params):
    told = Params(**{"command": command, "observe_s": 0.0} | params)
    return build("s", told, Context("", Ledger() if ledger is None else ledger))


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return sys.executable, str(path), str(tmp_path)


def lines(folder, name):
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_program_gets_the_order_and_tells_its_replicas(program, tmp_path):
    async def run():
        actuator = made(*program)
        await actuator.start()
        assert list(await actuator.observe()) == []
        await actuator.apply(order(2, start=2))
        seen = await actuator.observe()
        assert [(r.replica_id, r.state) for r in seen] == [
            ("r0", ReplicaState.READY), ("r1", ReplicaState.READY)]  # fmt: skip
        await actuator.apply(order(1, stop=["r0"], withdrawn=["r0"]))
        (left,) = await actuator.observe()
        assert left == seen[1], "since is that of the first sight"
        await actuator.close()

    asyncio.run(run())
    assert lines(tmp_path, "orders") == [
        {"service": "s", "target": 2, "start": 2, "stop": [], "withdrawn": [],
         "decision_id": 7, "reason": "load"},
        {"service": "s", "target": 1, "start": 0, "stop": ["r0"], "withdrawn": ["r0"],
         "decision_id": 7, "reason": "load"},
    ]  # fmt: skip
    assert lines(tmp_path, "looks")[0] == {"service": "s"}


def test_an_answer_stands_for_a_while_and_the_same_order_is_not_told_twice(program, tmp_path):
    async def run():
        actuator = made(*program, observe_s=3600.0)
        for _ in range(3):
            await actuator.observe()
        assert len(lines(tmp_path, "looks")) == 1
        for _ in range(3):
            await actuator.apply(order(1, start=1))
        assert len(lines(tmp_path, "orders")) == 1
        for _ in range(3):
            assert len(await actuator.observe()) == 1
        assert len(lines(tmp_path, "looks")) == 2, "an order makes the next look a fresh one"

    asyncio.run(run())


def said_by(code, verb="observe", **params):
    """Return the error of a program that is this Python code."""

    async def run():
        actuator = made(sys.executable, "-c", textwrap.dedent(code), **params)
        with pytest.raises(MeshlbError) as raised:
            await (actuator.observe() if verb == "observe" else actuator.apply(order(1, start=1)))
        return raised.value

    return asyncio.run(run())


@pytest.mark.parametrize("verb", ["observe", "apply"])
def test_one_that_fails_is_quoted(verb):
    error = said_by("import sys; print('a\\nno\\x07 quota', file=sys.stderr); sys.exit(4)", verb)
    assert isinstance(error, UnavailableError)
    assert "ended with exit code 4; its last words: a | no? quota" in str(error)
    assert verb in str(error)


@pytest.mark.parametrize("verb", ["observe", "apply"])
def test_one_that_hangs_is_killed_with_what_it_started(verb, tmp_path):
    pids = tmp_path / "pids"
    program = f'sleep 1000 & echo "$$ $!" > {pids}; echo still busy >&2; sleep 1000'

    async def run():
        actuator = made("sh", "-c", program, limit_s=3.0)
        with pytest.raises(UnavailableError) as raised:
            await (actuator.observe() if verb == "observe" else actuator.apply(order(1, start=1)))
        return raised.value

    error = asyncio.run(run())
    assert "did not end within 3 s, and was killed; its last words: still busy" in str(error)
    give_up = time.monotonic() + 20
    while any(os_process.name_of(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < give_up


def test_one_that_leaves_something_running_is_not_waited_for(tmp_path):
    async def run():
        code = "import subprocess, sys; print(subprocess.Popen(['sleep', '1000']).pid)"
        actuator = made(sys.executable, "-c", code, limit_s=600.0)
        with pytest.raises(InvalidInputError, match=r"observe printed '(\d+)'") as raised:
            await actuator.observe()  # a number is no answer, but it was read
        return int(re.search(r"'(\d+)'", str(raised.value))[1])

    pid = asyncio.run(run())
    assert os_process.name_of(pid) is not None, "what it left is its own business"
    os.kill(pid, 9)


def test_one_that_prints_without_end_is_killed():
    error = said_by("while True: print('x' * 10000)", limit_s=600.0)
    assert "printed more than" in str(error)


def test_one_that_is_not_there_is_named():
    async def run():
        with pytest.raises(UnavailableError, match="/no/such/program"):
            await made("/no/such/program").observe()

    asyncio.run(run())


def test_a_failure_stands_until_the_next_look(tmp_path):
    async def run():
        code = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); raise SystemExit(1)"
        actuator = made(sys.executable, "-c", code, observe_s=3600.0)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                await actuator.observe()
        assert (tmp_path / "count").read_text() == "x"

    asyncio.run(run())


def test_closing_ends_a_run_under_way(tmp_path):
    async def run():
        begun = tmp_path / "begun"
        code = f"import time; open({str(begun)!r}, 'w'); time.sleep(1000)"
        actuator = made(sys.executable, "-c", code, limit_s=600.0)
        looking = asyncio.ensure_future(actuator.observe())
        while not begun.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await actuator.close()
        with pytest.raises(UnavailableError, match="the controller ends"):
            await looking

    asyncio.run(run())


def test_without_a_controller_it_is_told_to_stop_all(program, tmp_path, monkeypatch):
    ledger, said = Ledger(), []

    async def run():
        actuator = made(*program, ledger=ledger, env={"KEY": "secret"})
        await actuator.apply(order(2, start=2))
        assert "secret" not in json.dumps(ledger)
        monkeypatch.delenv("KEY", raising=False)
        with pytest.raises(UnavailableError, match="s: its program wants KEY in its environment"):
            await command.stop_all(ledger, said.append)
        assert (len(ledger), said) == (1, [])
        monkeypatch.setenv("KEY", "secret")
        await command.stop_all(ledger, said.append)

    asyncio.run(run())
    assert said == ["s r0: stopped by its program", "s r1: stopped by its program"]
    assert lines(tmp_path, "orders")[-1] == {
        "service": "s", "target": 0, "start": 0, "stop": ["r0", "r1"], "withdrawn": [],
        "decision_id": 0, "reason": "meshlb down"}  # fmt: skip
    assert not ledger


def test_what_its_program_does_not_stop_is_named_and_stays_in_the_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(command.ending, "LIMIT_S", 0.0)
    listed = json.dumps({"replicas": [{"replica_id": "vm-7", "state": "ready"}]})
    ledger, said = Ledger(), []

    async def run():
        actuator = made(sys.executable, "-c", f"print({listed!r})", ledger=ledger)
        await actuator.apply(order(1, start=1))
        with pytest.raises(UnavailableError, match="s: vm-7: still listed by its program"):
            await command.stop_all(ledger, said.append)

    asyncio.run(run())
    assert (len(ledger), said) == (1, [])


@pytest.mark.parametrize("entry", [{}, {"service": "s", "command": [], "limit_s": 1, "cwd": "",
                                        "env": []}])  # fmt: skip
def test_a_ledger_that_it_never_wrote_is_refused(entry):
    with pytest.raises(InvalidInputError, match="ledger entry 'x'"):
        asyncio.run(command.stop_all(Ledger(x=entry), print))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"command": ()}, "command = []"),
        ({"command": "scale.sh"}, "command = 'scale.sh'"),
        ({"limit_s": 0}, "limit_s = 0"),
        ({"observe_s": float("inf")}, "observe_s = inf"),
        ({"chooses_victim": 1}, "chooses_victim = 1"),
        ({"env": []}, "env = []"),
        ({"cwd": 7}, "cwd = 7"),
    ],
)
def test_wrong_parameters_are_named(wrong, said):
    with pytest.raises(InvalidInputError) as raised:
        build("s", Params(**{"command": ("x",), **wrong}), Context("", None))
    assert said in str(raised.value)
