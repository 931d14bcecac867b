"""The demo's figures: what counts as failed, broken, cut off, and in which percentile."""

import json

from hypothesis import given
from hypothesis import strategies as st

from examples.demo.options import parse
from examples.demo.state import Run
from examples.demo.tally import Ended, Tally, percentile


def ended(**changes):
    fields = {"node": "a", "generate": True, "first_s": 0.1, "total_s": 1.0}
    return Ended(**(fields | changes))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_the_least_value_that_covers_its_part(values, part):
    found = percentile(values, part)
    assert found in values
    assert sum(v <= found for v in values) >= part * len(values) - 1e-6
    assert sum(v < found for v in values) <= part * len(values)


def test_a_percentile_of_nothing_is_unknown():
    assert percentile([], 0.99) is None


def test_failed_broken_and_cut_off_are_told_apart():
    tally = Tally()
    tally.add(ended(total_s=2.0))
    tally.add(ended(generate=False, first_s=0.2, total_s=0.2, node="b"))
    tally.add(ended(code="UNAVAILABLE", total_s=50.0))
    tally.add(ended(code="UNAVAILABLE", first_s=None, total_s=60.0, node=""))
    tally.add(ended(cut_off=True, first_s=None, total_s=9.0, node=""))
    tally.add(ended(moves=2, total_s=3.0))
    total = tally.total()
    assert (total.calls, total.failed, total.broken) == (6, 2, 1)
    assert (total.cut_off, total.moved) == (1, 1)
    assert total.p99_s == 9.0
    assert total.first_p99_s == 9.0
    assert {node: sums.calls for node, sums in tally.by_node().items()} == {"a": 3, "b": 1, "": 2}


def test_the_json_object_has_the_same_keys_for_both_fleets():
    options = parse(["--seconds", "10", "--nodes", "1,.5"])
    run = Run(options, ("node-1", "node-2"), "load", planned=2, killed="node-1")
    run.fleets["meshlb"].tally.add(ended(node="node-1"))
    whole = json.loads(json.dumps(run.as_json()))
    other = whole["round_robin"]
    assert whole.keys() >= other.keys()
    assert {"calls", "failed_calls", "broken_streams", "p50_ms", "p99_ms", "nodes"} <= other.keys()
    assert (whole["calls"], whole["p99_ms"]) == (1, 1000.0)
    assert (other["calls"], other["p99_ms"]) == (0, None)
    assert [node["killed"] for node in whole["nodes"]] == [True, False]
