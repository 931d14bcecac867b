"""``meshlb`` against a controller that scales real servers: what is said, and each exit code.

Long because all tests share that one controller.
"""

import json
import signal
import subprocess
import sys
import time
import tomllib

import grpc
import pytest

from meshlb.cli.__main__ import main
from meshlb.policy import scale_record
from meshlb.v1 import scale_pb2, scale_pb2_grpc
from tests.e2e.conftest import Processes
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)
SERVER = """
import sys
from concurrent import futures
import grpc
server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
"""
POLICY = """
min = 1
max = {most}
stable_window_s = 1
panic_window_s = 0.5
scale_in_window_s = 0
[[rules]]
kind = "reserve"
target = 100
"""
CONFIG = """
[controller]
grace_s = 0.1
[service.plain.scale]
{policy}
[service.plain.actuator]
kind = "process"
command = {command}
log_dir = {logs}
[service.empty.scale]
mode = "observe"
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """One controller with one server for all tests; ended by ``meshlb down``."""
    folder = tmp_path_factory.mktemp("cli")
    policy = POLICY.format(most=3).replace("[[rules]]", "[[service.plain.scale.rules]]")
    command = json.dumps([sys.executable, "-c", SERVER, "{address}"])
    config = folder / "meshlb.toml"
    config.write_text(CONFIG.format(policy=policy, command=command, logs=json.dumps(str(folder))))
    state, processes = folder / "state.db", Processes(folder)
    try:
        controller = processes.controller(
            "127.0.0.1:0", "--config", config, "--state", state, limit_s=120
        )
        with grpc.insecure_channel(controller.address) as channel:
            stub = scale_pb2_grpc.ScaleServiceStub(channel)
            request = scale_pb2.GetScaleRequest(service="plain")
            until(lambda: stub.GetScale(request, timeout=60).scale.ready_count == 1, limit_s=120)
        yield controller.address
    finally:
        down = subprocess.run(
            [sys.executable, "-m", "meshlb.cli", "down", "--state", str(state)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if down.returncode == 0:
            controller.wait(60)
        processes.stop()
    assert (down.returncode, down.stderr) == (0, "")
    said = down.stdout.splitlines()
    assert said[0] == f"controller (pid {controller.pid}): SIGTERM"
    assert any(" stopped by SIG" in line for line in said[1:])
    assert controller.returncode == 0


@pytest.fixture
def meshlb(address, capsys):
    """Return a function that runs a command and gives exit code, output and errors."""

    def run(*args, controller=address):
        try:
            code = main([*map(str, args), "--controller", controller])
        except SystemExit as ended:  # argparse's
            code = ended.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    def good(*args):
        code, out, err = run(*args)
        assert (code, err) == (0, "")
        return json.loads(out) if "--json" in args else out

    run.good = good
    good("scale", "set", "plain", "--clear")
    good("scale", "resume", "plain")
    until(lambda: good("scale", "get", "plain", "--json")["targetCount"] == "1", limit_s=120)
    return run


def node_of(meshlb):
    """Return a node that takes calls."""

    def found():
        nodes = meshlb.good("nodes", "--json")["nodes"]
        return [n["node"]["nodeId"] for n in nodes if n["state"] == "NODE_STATE_ACTIVE"]

    return until(found, limit_s=120)[0]


def test_get_tells_all_services_or_one(meshlb):
    head, *rows = meshlb.good("scale", "get").splitlines()
    assert head.split()[:3] == ["SERVICE", "TARGET", "READY"]
    assert [row.split()[0] for row in rows] == ["empty", "plain"]
    listed = meshlb.good("scale", "get", "--json")["scales"]
    assert [one["service"] for one in listed] == ["empty", "plain"]
    text = meshlb.good("scale", "get", "plain")
    assert text.startswith("plain: 1 node wanted, ")
    assert "bounds    1 to 3, active" in text
    assert "actuator  process" in text
    one = meshlb.good("scale", "get", "plain", "--json")
    assert (one["service"], one["targetCount"], one["actuator"]) == ("plain", "1", "process")
    assert meshlb.good("scale", "get", "empty", "--json")["mode"] == "SCALE_MODE_OBSERVE"


def test_set_waits_for_nodes_and_is_bounded_and_cleared(meshlb):
    text = meshlb.good("scale", "set", "plain", 2, "--wait", "4m", "--reason", "launch")
    assert text.splitlines() == [
        "plain: 2 nodes wanted, 2 ready", "  by hand   2 nodes, until cleared: launch"
    ]  # fmt: skip
    text = meshlb.good("scale", "set", "plain", 30, "--for", "1h")
    assert "but       bounds of 1 to 3 hold; --min and --max set others" in text
    meshlb.good("scale", "pause", "plain")
    code, _, err = meshlb("scale", "set", "plain", 1, "--wait", "0.5s")
    assert (code, err[:38]) == (1, "meshlb: --wait: not reached in 0.5 s: ")
    meshlb.good("scale", "resume", "plain")
    one = meshlb.good("scale", "set", "plain", "--min", 2, "--json")
    assert one["manual"] == {"minCount": "2", "reason": ""}
    text = meshlb.good("scale", "set", "plain", "--clear")
    assert "NEXT  " in text
    assert "manual" not in meshlb.good("scale", "get", "plain", "--json")


def test_a_change_is_named_once_and_guarded_by_its_etag(meshlb):
    change = ("scale", "set", "plain", 1, "--request-id", f"once-{time.time_ns()}", "--json")
    first = meshlb.good(*change)
    meshlb.good("scale", "pause", "plain", "in")
    assert meshlb.good(*change) == first
    again = list(change)
    again[3] = 2
    code, _, err = meshlb(*again)
    assert (code, "one of its own; another SetScale had it" in err) == (2, True)
    code, out, err = meshlb("scale", "set", "plain", 2, "--etag", first["etag"])
    assert (code, out) == (3, "")
    assert err.startswith(f"meshlb: etag = {first['etag']!r}: ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("get", "nobody"), "service = 'nobody': one of ['empty', 'plain']"),
        (("set", "nobody", "1"), "service = 'nobody': one of "),
        (("set", "plain"), "COUNT: a number of nodes, or --min or --max, or --clear"),
        (("set", "plain", "many"), "COUNT = 'many': a whole number from 0 to 10000"),
        (("set", "plain", "9" * 30), "a whole number from 0 to 10000"),
        (("set", "plain", "-1"), ""),  # argparse's words
        (("set", "plain", "--min", "3", "--max", "2"), "--min = 3: at most --max = 2"),
        (("set", "plain", "1", "--for", "soon"), "--for = 'soon': a span such as"),
        (("set", "plain", "1", "--until", "2020-01-01"), "--until = '2020-01-01': a time that"),
        (("set", "plain", "1", "--clear"), "--clear: alone"),
        (("set", "plain", "1", "--request-id", "x" * 999), "request_id = "),
        (("pause", "plain", "up"), "out"),
        (("pause", "nobody"), "service = 'nobody': one of "),
        (("resume", "nobody"), "service = 'nobody': one of "),
        (("policy", "nobody"), "service = 'nobody': one of "),
        (("policy", "plain", "--put", "no/such.toml"), "policy = 'no/such.toml': a readable file"),
        (("policy", "plain", "--etag", "e"), "--etag, --request-id: only together with --put"),
        (("explain", "nobody"), "service = 'nobody': one of "),
        (("explain", "plain", "--at", "25:00"), "--at = '25:00': a time such as"),
        (("explain", "plain", "--since", "ever"), "--since = 'ever': a time such as"),
        (("watch", "nobody"), "service = 'nobody': one of "),
        (("preview", "plain"), "--policy"),
        (("preview", "plain", "--policy", "no/such.toml"), "policy = 'no/such.toml'"),
        (("dance",), "dance"),
    ],
)
def test_what_is_called_wrongly_ends_with_2_and_names_it(meshlb, args, said):
    code, out, err = meshlb("scale", *args)
    assert (code, out) == (2, "")
    assert said in err


def test_policies_are_shown_stored_and_refused(meshlb, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.format(most=3))
    before = meshlb.good("scale", "policy", "plain", "--json")
    stored = meshlb.good("scale", "policy", "plain", "--put", path, "--json")
    assert (stored["policy"]["maxCount"], stored["etag"] != before["etag"]) == ("3", True)
    text = meshlb.good("scale", "policy", "plain")
    assert text.startswith(f"# from: stored, etag: {stored['etag']}\n")
    table = tomllib.loads(text)["service"]["plain"]["scale"]
    assert (table["max"], table["rules"][0]["kind"]) == (3, "reserve")
    path.write_text(text)
    assert meshlb.good("scale", "policy", "plain", "--put", path).startswith("# stored, etag: ")

    code, _, err = meshlb("scale", "policy", "plain", "--put", path, "--etag", before["etag"])
    assert (code, "etag = " in err) == (3, True)
    for wrong, faults in (
        ("min = 5\nmax = 2", ["min = 5: "]),
        ("max = 20000\nmood = 1", ["mood = 1: not a key; known: "]),
        ("max = 20000\ntolerance = 9", ["max = 20000: ", "tolerance = 9"]),
        ('[[rules]]\nkind = "magic"\n[[rules]]\nkind = "group"\nsignal = "mood"',
         ["rules[0].kind = 'magic': ", "signal = 'mood': "]),
    ):  # fmt: skip
        path.write_text(wrong)
        code, out, err = meshlb("scale", "policy", "plain", "--put", path)
        assert (code, out, len(err.splitlines())) == (2, "", len(faults)), err
        assert all(fault in err for fault in faults), err
    kept = meshlb.good("scale", "policy", "plain").partition("\n")
    assert kept[2] == text.partition("\n")[2]


def test_pauses_hold_what_is_wanted_and_end(meshlb):
    assert meshlb.good("scale", "pause", "plain", "out", "--reason", "x") == "plain: paused: out\n"
    both = meshlb.good("scale", "pause", "plain", "in", "--json")["pause"]
    assert (both["scaleIn"], both["scaleOut"]) == (True, True)
    assert meshlb.good("scale", "set", "plain", 3).startswith("plain: 1 node wanted, ")
    assert meshlb.good("scale", "resume", "plain", "out") == "plain: paused: in\n"
    assert meshlb.good("scale", "resume", "plain") == "plain: nothing is paused\n"


def test_a_decision_is_explained_now_then_and_as_recorded(meshlb):
    meshlb.good("scale", "set", "plain", 2)
    text = meshlb.good("scale", "explain", "plain")
    assert text.startswith("plain: 2 nodes wanted since ")
    for part in ("LOAD", "NODES", "RULES", "NEXT"):
        assert f"\n{part}" in text
    one = meshlb.good("scale", "explain", "plain", "--json")
    replayed = scale_record.replay(one["recordJson"])
    assert scale_record.to_json(replayed) == one["recordJson"]
    assert meshlb.good("scale", "explain", "plain", "--at", "now").startswith("plain: 2 nodes")
    head, *rows = meshlb.good("scale", "explain", "plain", "--since", "1h").splitlines()
    assert head.split() == ["TIME", "NODES", "WHY"]
    assert rows
    assert meshlb.good("scale", "explain", "plain", "--since", "1h", "--json")["decisions"]
    code, _, err = meshlb("scale", "explain", "plain", "--at", "2d ago")
    assert (code, "no decision is recorded at or before" in err) == (1, True)


def test_watch_prints_each_change_until_it_is_interrupted(meshlb, address, tmp_path):
    with (tmp_path / "errors").open("wb") as errors:
        watch = subprocess.Popen(
            [sys.executable, "-m", "meshlb.cli", "scale", "watch", "plain", "--json",
             "--controller", address],
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    try:
        assert json.loads(watch.stdout.readline())["service"] == "plain"
        meshlb.good("scale", "set", "plain", 1, "--reason", "watched")
        told = (json.loads(line) for line in watch.stdout)
        assert next(t for t in told if t.get("manual", {}).get("reason") == "watched")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 130
    finally:
        watch.kill()
        watch.communicate()
    assert (tmp_path / "errors").read_text() == ""


def test_a_policy_is_tried_on_what_was_recorded(meshlb, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.format(most=2))
    for count in (2, 1):
        meshlb.good("scale", "set", "plain", count)
    text = meshlb.good("scale", "preview", "plain", "--policy", path)
    assert "NODE-SECONDS" in text
    found = meshlb.good("scale", "preview", "plain", "--policy", path, "--since", "1d", "--json")
    assert found["recordedNodeSeconds"] > 0
    path.write_text("max = 0\n")
    code, out, err = meshlb("scale", "preview", "plain", "--policy", path)
    assert (code, out, "max = 0" in err) == (2, "", True)


def test_a_node_is_withdrawn_and_given_calls_again(meshlb):
    node = node_of(meshlb)
    assert meshlb.good("drain", node).splitlines()[-1] == (
        f"{node}: drained; it can be stopped without breaking a call"
    )
    (row,) = (line for line in meshlb.good("nodes").splitlines() if node in line)
    assert "draining" in row.split()
    assert meshlb.good("undrain", node) == f"{node}: gets new calls again\n"
    assert meshlb.good("drain", node, "--no-wait", "--json")["clientCount"] == "0"
    assert meshlb.good("undrain", node, "--json") == {}
    for command in ("drain", "undrain"):
        code, out, err = meshlb(command, "nobody")
        assert (code, out) == (2, "")
        assert err.startswith("meshlb: NODE = 'nobody': one of ")


@pytest.mark.parametrize(
    "args", [("scale", "get"), ("scale", "watch"), ("nodes",), ("drain", "x"), ("undrain", "x")]
)
def test_no_controller_is_one_line_and_ends_with_1(meshlb, args):
    code, out, err = meshlb(*args, controller="127.0.0.1:1")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "is it running there? (meshlb controller)" in err
