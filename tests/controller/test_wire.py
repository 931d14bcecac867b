"""Protobuf to model and back; what cannot be right is refused with every fault named."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb import checks, table_wire, wire
from meshlb.errors import InvalidInputError, MeshlbError
from meshlb.model import (
    CallLimits,
    CallReport,
    Health,
    LatencyBucket,
    LoadReport,
    LoadShare,
    NodeCalls,
    NodeInfo,
    NodeState,
    Priority,
    SpeedCurve,
    Table,
    TableNode,
)
from meshlb.v1 import load_pb2, routing_pb2

names = st.from_regex(r"\A[A-Za-z0-9._-]{1,20}\Z")
addresses = st.builds(
    "{}:{}".format, st.sampled_from(["10.0.0.1", "host", "[::1]"]), st.integers(1, 65535)
)
counts = st.integers(0, 2**40)
spans = st.integers(0, 10**15).map(lambda ns: ns / 1e9).filter(lambda s: round(s * 1e9) / 1e9 == s)
positive_spans = st.integers(1, 10**6).map(lambda us: us / 1e6)
fractions = st.floats(0, 1)
buckets = st.lists(
    st.builds(LatencyBucket, counts, counts, st.integers(0, 10**6).map(float)), max_size=5
).map(tuple)
nodes = st.builds(
    NodeInfo,
    service=names,
    node_id=names,
    incarnation=st.integers(1, 2**50),
    address=addresses,
    authority=names,
    zone=names,
    labels=st.dictionaries(names, names, max_size=3),
    slots=st.none() | st.integers(1, 1000),
)
reports = st.builds(
    LoadReport,
    node=nodes,
    observe_time_s=st.none() | st.integers(0, 2**31).map(float),
    health=st.sampled_from(Health),
    in_flight=st.none() | counts,
    queued=st.none() | counts,
    latency=buckets,
    host_cpu=st.none() | fractions,
    gpu=st.none() | fractions,
    application=st.none() | st.floats(0, 100),
    requests_per_s=st.none() | st.floats(0, 1e9),
    tokens_out=st.none() | counts,
    time_to_first_token_s=st.none() | st.integers(0, 1000).map(float),
    named_metrics=st.dictionaries(names, st.floats(-1e9, 1e9), max_size=3),
)
curves = st.builds(SpeedCurve, positive_spans, positive_spans, st.floats(0, 1000))
limits = st.builds(
    CallLimits,
    in_flight=st.none() | st.integers(1, 10**9),
    per_node=st.none() | st.integers(1, 10**6),
    waiting=st.integers(0, 10**6),
    priorities=st.lists(
        st.builds(Priority, names, st.floats(0, 0.3)), max_size=3, unique_by=lambda one: one.name
    ).map(tuple),
    clients=st.integers(1, 1000),
)
tables = st.builds(
    Table,
    service=names,
    controller_id=names,
    epoch=counts,
    version=counts,
    complete=st.booleans(),
    nodes=st.lists(
        st.builds(
            TableNode,
            node_id=names,
            incarnation=counts,
            address=addresses,
            state=st.sampled_from(NodeState),
            weight=st.floats(0.001, 1000),
            curve=st.none() | curves,
            slots=st.none() | st.integers(1, 1000),
        ),
        max_size=4,
        unique_by=lambda n: n.node_id,
    ).map(tuple),
    picker=names,
    idempotent_methods=st.just(("/a.B/C",)),
    limits=st.none() | limits,
)


@given(reports)
def test_a_load_report_comes_back_as_it_went(report):
    assert wire.load_report_from_pb(wire.load_report_to_pb(report)) == report


@given(tables)
def test_a_table_comes_back_as_it_went(table):
    back = table_wire.table_from_pb(table_wire.table_to_pb(table))

    assert (back.version, back.limits) == (table.version, table.limits)
    assert [n.node_id for n in back.nodes] == [n.node_id for n in table.nodes]
    for mine, theirs in zip(back.nodes, table.nodes, strict=True):
        assert (mine.state, mine.weight, mine.slots) == (theirs.state, theirs.weight, theirs.slots)
        if theirs.curve is None:
            assert mine.curve is None
        else:
            assert mine.curve.base_s == pytest.approx(theirs.curve.base_s, abs=1e-9)
            assert mine.curve.slope_s == pytest.approx(theirs.curve.slope_s, abs=1e-9)


def test_calls_and_shares_come_back_as_they_went():
    calls = CallReport("s", "c", 7, (NodeCalls("n", 1, 2, 3, 4, 5, 1.25),), waiting=6)
    share = LoadShare(0.25, {"n": 3.0, "m": 0.0}, counted_sequence=9, interval_s=0.1, admitted=1.5)

    assert wire.call_report_from_pb(wire.call_report_to_pb(calls)) == calls
    assert table_wire.share_from_pb(table_wire.share_to_pb(share)) == share


@given(reports, reports)
def test_a_streams_next_reports_are_read_as_if_they_were_its_first(one, other):
    last = wire.Last()
    for report in (one, one, other, one):
        assert wire.load_report_from_pb(wire.load_report_to_pb(report), last) == report


def test_a_clients_next_reports_are_read_as_if_they_were_its_first():
    rng, last = random.Random(1), wire.Last()
    calls = []
    for sequence in range(500):
        if rng.random() < 0.2:
            calls.append(NodeCalls(f"node-{sequence}", 0))
        if calls and rng.random() < 0.1:
            calls.pop(rng.randrange(len(calls)))
        if rng.random() < 0.05:
            rng.shuffle(calls)
        for at in range(len(calls)):
            if rng.random() < 0.3:
                calls[at] = NodeCalls(calls[at].node_id, rng.randrange(3), sequence)
        report = CallReport("s", "c", sequence, tuple(calls))
        assert wire.call_report_from_pb(wire.call_report_to_pb(report), last) == report


def test_what_a_client_says_again_is_the_same_object():
    last, calls = wire.Last(), [NodeCalls("a", 1), NodeCalls("b", 2)]
    for more in ([], [NodeCalls("c", 3)]):
        message = wire.call_report_to_pb(CallReport("s", "c", 1, tuple(calls + more)))
        before = last.calls
        report = wire.call_report_from_pb(message, last)

    assert [new is old for new, old in zip(report.nodes, before, strict=False)] == [True, True]


def test_a_fault_is_found_in_a_later_report_too():
    last = wire.Last()
    message = wire.call_report_to_pb(CallReport("s", "c", 1, (NodeCalls("a", 1),)))
    wire.call_report_from_pb(message, last)
    wrong = wire.call_report_to_pb(CallReport("s", "c", 2, (NodeCalls("a", -1),)))
    for _ in range(2):  # what was refused is not what was said last
        with pytest.raises(InvalidInputError, match=r"report.nodes\['a'\] counts = \(-1, 0"):
            wire.call_report_from_pb(wrong, last)
    good = wire.load_report_to_pb(GOOD)
    wire.load_report_from_pb(good, last)
    good.node.address = "nowhere"
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"report.node.address = 'nowhere'"):
            wire.load_report_from_pb(good, last)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_raise_nothing_but_the_error_for_it(data):
    for message, convert in (
        (load_pb2.LoadReport(), wire.load_report_from_pb),
        (load_pb2.CallReport(), wire.call_report_from_pb),
        (routing_pb2.RoutingTable(), table_wire.table_from_pb),
        (routing_pb2.LoadShare(), table_wire.share_from_pb),
    ):
        try:
            message.ParseFromString(data)
        except Exception:  # not even a message: gRPC refuses it before us
            continue
        try:
            convert(message)
        except InvalidInputError as error:
            assert error.faults  # noqa: PT017 - that there is one is not what is asserted


GOOD = LoadReport(NodeInfo("s", "n", 1, "h:1"))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("host_cpu_utilization", math.nan, "report.host_cpu_utilization = nan: from 0 to 1"),
        ("host_cpu_utilization", 1.5, "report.host_cpu_utilization = 1.5: from 0 to 1"),
        ("in_flight_count", -1, "report.in_flight_count = -1: from 0 to 1099511627776"),
        ("application_utilization", math.inf, "application_utilization = inf: finite, 0 or more"),
        ("requests_per_second", -0.5, "report.requests_per_second = -0.5: finite, 0 or more"),
    ],
)
def test_a_wrong_figure_is_named_with_its_value_and_range(field, value, told):
    message = wire.load_report_to_pb(GOOD)
    setattr(message, field, value)

    with pytest.raises(InvalidInputError) as caught:
        wire.load_report_from_pb(message)

    assert told in str(caught.value)
    assert caught.value.reason == "INVALID_REPORT"


def test_all_faults_are_told_at_once():
    message = wire.load_report_to_pb(GOOD)
    message.node.service = "a b"
    message.node.incarnation = 0
    message.node.address = "nowhere"
    message.named_metrics["x"] = math.nan

    with pytest.raises(InvalidInputError) as caught:
        wire.load_report_from_pb(message)

    assert len(caught.value.faults) == 4
    assert isinstance(caught.value, MeshlbError)


@pytest.mark.parametrize(
    "text", ["", "h", "h:", ":1", "h:0", "h:65536", "h:x", "a b:1", "::1:80", "h:1/x"]
)
def test_an_address_that_cannot_be_dialled_is_refused(text):
    with pytest.raises(InvalidInputError, match="HOST:PORT"):
        checks.parse_address(text)


def test_addresses_are_parsed():
    assert checks.parse_address("h:80") == ("h", 80)
    assert checks.parse_address("[::1]:80") == ("::1", 80)


def test_a_table_with_a_node_twice_is_refused():
    node = TableNode("n", 1, "h:1")
    message = table_wire.table_to_pb(Table("s", "c", 1, 1, True, (node, node)))

    with pytest.raises(InvalidInputError, match="stands twice"):
        table_wire.table_from_pb(message)


def test_a_state_that_is_not_known_here_is_taken_for_unknown_and_none_is_refused():
    node = routing_pb2.TableNode(node_id="a", address="h:1", weight=1.0, state=77)
    message = routing_pb2.RoutingTable(service="s", nodes=[node])
    assert table_wire.table_from_pb(message).nodes[0].state is NodeState.UNKNOWN

    message.nodes[0].state = routing_pb2.NODE_STATE_UNSPECIFIED
    with pytest.raises(InvalidInputError, match="state = 0: one of"):
        table_wire.table_from_pb(message)


def test_a_suspicion_comes_back_as_it_went_and_a_long_one_is_refused():
    report = CallReport("s", "x", 1, (NodeCalls("a", 0, suspicion="it is silent"),))
    message = wire.call_report_to_pb(report)
    assert wire.call_report_from_pb(message) == report

    message.nodes[0].suspicion = "x" * 129
    with pytest.raises(InvalidInputError, match="suspicion"):
        wire.call_report_from_pb(message)
