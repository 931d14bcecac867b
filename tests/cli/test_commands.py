"""The command line, as its users call it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest


def meshlb(*args):
    return subprocess.run(
        [sys.executable, "-m", "meshlb.cli", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def controller():
    process = subprocess.Popen(
        [sys.executable, "-m", "meshlb.cli", "controller", "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    first = json.loads(process.stderr.readline())
    process.address = first["listen"]
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def test_a_controller_logs_json_and_stops_in_order_on_sigterm(controller):
    controller.send_signal(signal.SIGTERM)
    rest = controller.stderr.read()

    assert controller.wait(60) == 0
    assert json.loads(rest.splitlines()[-1])["event"] == "controller_stopped"


def test_an_empty_controller_says_so(controller):
    for command, told in (("services", "no services yet"), ("nodes", "no nodes yet")):
        ran = meshlb(command, "--controller", controller.address)
        assert (ran.returncode, ran.stdout[: len(told)]) == (0, told)


def test_nodes_and_services_are_listed_for_people_and_programs(controller):
    sidecar = subprocess.Popen(
        [
            sys.executable, "-m", "sidecar", "--controller", controller.address,
            "--service", "llama", "--node", "127.0.0.1:9", "--node-id", "n1", "--slots", "4",
        ],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + 60
        while "n1" not in (table := meshlb("nodes", "--controller", controller.address).stdout):
            assert time.monotonic() < give_up
        head, row = table.splitlines()
        listed = json.loads(meshlb("nodes", "--json", "--controller", controller.address).stdout)
        services = meshlb("services", "--controller", controller.address).stdout
    finally:
        sidecar.kill()
        sidecar.wait()

    assert head.split()[:4] == ["SERVICE", "NODE", "ADDRESS", "STATE"]
    assert row.split()[:3] == ["llama", "n1", "127.0.0.1:9"]
    assert listed["nodes"][0]["node"]["slotCount"] == "4"
    assert re.search(r"llama +1 ", services)


def test_a_controller_that_is_not_there_is_one_clear_line():
    ran = meshlb("nodes", "--controller", "127.0.0.1:1")

    assert ran.returncode == 1
    (line,) = [one for one in ran.stderr.splitlines() if one.startswith("meshlb: ")]
    assert "controller = '127.0.0.1:1'" in line
    assert "Traceback" not in ran.stderr


def test_a_port_in_use_is_one_clear_line(controller):
    ran = meshlb("controller", "--listen", controller.address)

    assert ran.returncode == 1
    assert f"meshlb: listen = '{controller.address}': an address that is free" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("controller", "--listen", "nowhere"),
        ("controller", "--config", "/no/such/file"),
        ("nodes", "--controller", "x"),
        ("config", "check", "/no/such/file"),
        ("no-such-command",),
        (),
    ],
)
def test_a_wrong_call_ends_with_2_and_no_traceback(args):
    ran = meshlb(*args)

    assert ran.returncode == 2
    assert ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_configuration_is_checked_and_shown(tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[service.x]\npicker = "p2c"\n')
    bad.write_text('[service.x]\npicker = "best"\nfresh_s = -1\n')

    assert meshlb("config", "check", good).stdout == "ok\n"
    ran = meshlb("config", "check", bad)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 2
    shown = tmp_path / "shown.toml"
    shown.write_text(meshlb("config", "show", good).stdout)
    assert meshlb("config", "check", shown).stdout == "ok\n"


def test_help_names_every_command():
    told = meshlb("--help").stdout

    for command in ("controller", "config", "nodes", "services", "scale", "drain", "undrain"):
        assert re.search(rf"^ +{command}\b", told, re.MULTILINE)
