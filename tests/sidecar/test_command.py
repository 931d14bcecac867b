"""The command itself: its arguments, and how it leaves."""

import asyncio
import signal

import pytest

from sidecar.__main__ import main


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_says_goodbye_and_ends_well(loopback, sidecar_process, drain, number):
    async def run():
        async with loopback.model_server() as server, loopback.controller(30) as controller:
            while not controller.goodbyes:  # one that takes over 2 s is given up
                controller.reports.clear()
                process = sidecar_process(
                    "--controller", f"{controller.address},127.0.0.1:1", "--service", "s",
                    "--node", server.address, "--zone", "eu-1a", "--label", "a=b", "--label", "c=",
                    *["--drain-on-exit"] * drain,
                )  # fmt: skip
                await loopback.until(lambda: controller.reports, "a report")
                process.popen.send_signal(number)
                assert await process.ended() == 0, process.log
            assert [goodbye.drain for goodbye in controller.goodbyes] == [drain]
            node = controller.reports[0].node
            assert node.node_id == server.address
            assert node.zone == "eu-1a"
            assert node.labels == {"a": "b", "c": ""}
            assert node.incarnation > 1_700_000_000_000_000
            assert "Traceback" not in process.log

    asyncio.run(run())


GOOD = {"--controller": "127.0.0.1:1", "--service": "s", "--node": "127.0.0.1:2"}


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("--controller", "127.0.0.1:1,nowhere", "HOST:PORT"),
        ("--service", "a b", "1 to 128 characters"),
        ("--service", "", "1 to 128 characters"),
        ("--node", "127.0.0.1:0", "1 to 65535"),
        ("--node-id", "n" * 254, "1 to 253 characters"),
        ("--slots", "0", "1 to 1000000"),
        ("--slots", "two", "1 to 1000000"),
        ("--zone", "z" * 129, "0 to 128 characters"),
        ("--zone", "\udcff", "printable UTF-8"),
        ("--label", "alone", "K=V"),
        ("--authority", "a" * 254, "0 to 253 characters"),
        ("--pid", "-1", "1 to"),
    ],
)
def test_a_wrong_argument_is_one_line_with_its_value_and_range(argument, value, allowed, capsys):
    words = [f"{name}={text}" for name, text in (GOOD | {argument: value}).items()]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{argument} " in line
    assert value.rpartition(",")[2].encode("unicode_escape").decode()[:140] in line
    assert allowed in line


def test_all_wrong_arguments_are_told_at_once(capsys):
    assert main(["--controller=x", "--service=s", "--node=y", "--slots=-3"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize("words", [["--service=s"], ["--what"], ["--log-level=loud"]])
def test_what_the_parser_refuses_is_one_line_too(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
