"""Any target, option or service config of a channel: its faults are told, or calls can be made."""

import json
import random
import re

import grpc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshlb import plugins
from meshlb.client import options, retry, target
from meshlb.client.view import PICKERS
from meshlb.errors import InvalidInputError
from tests.fuzz.effort import effort
from tests.fuzz.fleet_world import Client
from tests.fuzz.messages import FLOATS, TEXTS, WHOLES, Bytes, one_of
from tests.fuzz.tables import value
from tests.fuzz.test_found import response

CODES = ("UNAVAILABLE", "unavailable", "OK", "NO_SUCH", 14, None)
SPANS = ("0.1s", "1s", "1e300s", "0s", "-1s", "nans", "infs", "s", "", 1, None, "1" * 400 + "s")
TRAILING = (
    "0",
    "100",
    "-1",
    "",
    "9" * 400,
    "9" * 5000,
    "²",
    "٣",
    "1.5",
    b"7",
    b"\xff",
    "1_0",
    " 1",
)


def service_config(source):
    """Return a service config: mostly near one that holds."""
    wild = source.below(3) == 0
    config = {"methodConfig": [_method(source, wild) for _ in range(source.below(3))]}
    if wild and source.below(3) == 0:
        config[one_of(source, ("methodConfig", "loadBalancingConfig", "x"))] = value(source)
    text = json.dumps(config, default=str)
    if wild and source.below(4) == 0:
        text = one_of(source, ("", "[]", "null", "{", '{"methodConfig": 3}', text[:-2], text * 2))
    return text


def _method(source, wild):
    name = one_of(source, ({}, {"service": "a.B"}, {"service": "a.B", "method": "C"}))
    made = {"name": [name]}
    retry_policy = {
        "maxAttempts": 2 + source.below(5),
        "initialBackoff": "0.1s",
        "maxBackoff": one_of(source, ("1s", "0.01s", "1e300s")),
        "backoffMultiplier": one_of(source, (2, 1.5, 1e300, 1e-300)),
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    hedging_policy = {"maxAttempts": 2, "hedgingDelay": "0.1s", "nonFatalStatusCodes": ["INTERNAL"]}
    for key, likely in (
        ("retryPolicy", retry_policy), ("hedgingPolicy", hedging_policy), ("idempotent", True),
        ("waitForReady", True), ("timeout", "1s"),
    ):  # fmt: skip
        if source.below(3) == 0:
            made[key] = value(source) if wild and source.below(4) == 0 else likely
        elif wild and isinstance(likely, dict) and source.below(3) == 0:
            made[key] = likely
            inner = one_of(source, sorted(likely))
            likely[inner] = one_of(source, (*SPANS, *WHOLES, *FLOATS, list(CODES), [], {}))
    if wild and source.below(4) == 0:
        made[one_of(source, ("name", "priority", "x", "maxRequestMessageBytes"))] = value(source)
    return made


def known_options():
    """Return the names of all options of ours, as the error for one that is none tells them."""
    with pytest.raises(InvalidInputError) as caught:
        options.parse([("meshlb.none", 1)])
    return re.findall(r"meshlb\.(\w+)", str(caught.value).partition("known:")[2])


def drive(choices):
    """Open what stands behind a channel with options of these choices; return whether they hold."""
    source = Bytes(choices)
    given_ = []
    if source.below(2):
        given_.append(("grpc.service_config", service_config(source)))
    for _ in range(source.below(3)):
        name = one_of(source, (*known_options(), "none"))
        likely = {
            "picker": one_of(source, plugins.names(PICKERS)), "zone": "z", "picker_params": {}
        }  # fmt: skip
        chosen = likely.get(name) if source.below(3) else value(source)
        given_.append((f"meshlb.{name}", chosen))
    if source.below(10) == 0:
        given_.append(one_of(source, ((), ("a",), None, 3, "ab", ("meshlb.zone", "z", 1))))
    try:
        read = options.parse(given_)
    except InvalidInputError as error:
        return not error.faults
    for method in ("/a.B/C", "/a.B/D", "/x.Y/Z", ""):
        policy = read.policy(method)
        read.waits(method), read.hedging_of(method), read.timeout_s(method)
        for attempts in range(1, 7):
            trailing = ((retry.PUSHBACK_KEY, one_of(source, TRAILING)),) if source.below(2) else ()
            again = retry.after_started(
                policy or retry.IDEMPOTENT, grpc.StatusCode.UNAVAILABLE, one_of(source, TEXTS),
                attempts, trailing, random.Random(1),
            )  # fmt: skip
            assert again is None or 0 <= again.delay_s < float("inf")
    client = Client(picker=read.picker, params=read.picker_params)
    assert client.take(response(epoch=1, version=1)) == ""
    assert client.call(1.0)
    return True


@given(st.binary(min_size=20, max_size=300))
@effort(150)
@example(random.Random(1).randbytes(2000))
def test_options_are_refused_with_their_faults_or_calls_can_be_made(choices):
    drive(choices)


def test_both_ways_are_tried():
    held = [drive(random.Random(seed).randbytes(200)) for seed in range(60)]
    assert 10 < sum(held) < 50


PARTS = ("mesh://", "h:1", ",", "/", "s", "[::1]:2", "h", ":", "é", " ", "a b", "x" * 130, "\n")


@given(st.text() | st.lists(st.sampled_from(PARTS)).map("".join))
@effort(100)
@example("mesh://h:1,[::1]:2/s")
def test_a_target_is_refused_with_its_faults_or_comes_back_as_it_is(text):
    try:
        read = target.parse(text)
    except InvalidInputError:
        return
    assert target.parse(str(read)) == read
