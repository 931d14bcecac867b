"""The demo's command line: everything that is wrong, in one line, before anything starts."""

import pytest

from examples.demo.options import parse
from meshlb.errors import InvalidInputError


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--seconds 1", ["--seconds 1"]),
        ("--seconds nan", ["--seconds nan"]),
        ("--load 2 --clients 0", ["--load 2", "--clients 0"]),
        ("--nodes 1", ["--nodes 1"]),
        ("--nodes 1,x", ["--nodes 1,x"]),
        ("--nodes 1,0", ["--nodes 1,0"]),
        ("--nodes 1,nan", ["--nodes 1,nan"]),
        ("--engine llama --nodes 1,0.5", ["--nodes 1,0.5"]),
        ("--speed 2", ["--speed 2"]),
        ("--act scale --engine llama", ["--act scale"]),
        ("--svg x.svg", ["--svg needs one act"]),
        ("--json no/such/folder/x.json", ["--json no/such/folder/x.json"]),
    ],
)
def test_each_fault_is_named(words, told):
    with pytest.raises(InvalidInputError) as caught:
        parse(words.split())
    assert [fault.partition(":")[0] for fault in caught.value.faults] == told


@pytest.mark.parametrize("seconds", [4, 6, 20, 60, 600])
def test_load_kill_and_tail_fit_into_the_seconds(seconds):
    options = parse(["--seconds", str(seconds)])
    assert options.load_s + options.tail_s == pytest.approx(seconds)
    assert 0 < options.kill_s < options.load_s
    assert options.load_s >= seconds / 2


def test_the_first_of_the_fastest_is_killed():
    assert parse(["--nodes", "0.5,1,1"]).victim == 1


@pytest.mark.parametrize(
    ("words", "acts"),
    [
        ("", ("balance", "scale")),
        ("--act both", ("balance", "scale")),
        ("--act scale", ("scale",)),
        ("--act balance --engine llama", ("balance",)),
        ("--engine llama", ("balance",)),
    ],
)
def test_both_acts_are_shown_unless_one_is_asked_for(words, acts):
    assert parse(words.split()).acts == acts
