"""Protobuf to model and back; what cannot be right is refused with every fault named."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb import wire
from meshlb.errors import InvalidInputError, MeshlbError
from meshlb.model import (
    CallReport,
    Health,
    LatencyBucket,
    LoadReport,
    LoadShare,
    NodeCalls,
    NodeInfo,
    NodeState,
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
)


@given(reports)
def test_a_load_report_comes_back_as_it_went(report):
    assert wire.load_report_from_pb(wire.load_report_to_pb(report)) == report


@given(tables)
def test_a_table_comes_back_as_it_went(table):
    back = wire.table_from_pb(wire.table_to_pb(table))

    assert back.version == table.version
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
    share = LoadShare(0.25, {"n": 3.0, "m": 0.0}, counted_sequence=9, interval_s=0.1)

    assert wire.call_report_from_pb(wire.call_report_to_pb(calls)) == calls
    assert wire.share_from_pb(wire.share_to_pb(share)) == share


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_raise_nothing_but_the_error_for_it(data):
    for message, convert in (
        (load_pb2.LoadReport(), wire.load_report_from_pb),
        (load_pb2.CallReport(), wire.call_report_from_pb),
        (routing_pb2.RoutingTable(), wire.table_from_pb),
        (routing_pb2.LoadShare(), wire.share_from_pb),
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
        ("in_flight_count", -1, "report.in_flight_count = -1: finite, 0 or more"),
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
        wire.parse_address(text)


def test_addresses_are_parsed():
    assert wire.parse_address("h:80") == ("h", 80)
    assert wire.parse_address("[::1]:80") == ("::1", 80)


def test_a_table_with_a_node_twice_is_refused():
    node = TableNode("n", 1, "h:1")
    message = wire.table_to_pb(Table("s", "c", 1, 1, True, (node, node)))

    with pytest.raises(InvalidInputError, match="stands twice"):
        wire.table_from_pb(message)
