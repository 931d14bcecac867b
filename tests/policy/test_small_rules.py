"""Subsets, hysteresis, averages and normalised weights: their laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.model import NodeState, SpeedCurve, TableNode
from meshlb.policy import hysteresis, subsets
from meshlb.policy.smooth import Smooth
from meshlb.policy.weights import FLOOR, normalised

ids = st.lists(st.text("abcdef0123", min_size=1, max_size=6), unique=True, max_size=60)


@given(ids, st.integers(0, 1000), st.integers(1, 70))
def test_a_subset_is_of_its_size_or_all_and_the_same_each_time(node_ids, client, size):
    ordered = subsets.ring(node_ids)
    chosen = subsets.subset(ordered, client, size)

    assert len(chosen) == len(set(chosen)) == min(size, len(node_ids))
    assert set(chosen) <= set(node_ids)
    assert list(subsets.subset(subsets.ring(reversed(node_ids)), client, size)) == list(chosen)


@pytest.mark.parametrize(("nodes", "clients"), [(100, 10), (200, 100), (1000, 200), (640, 1000)])
def test_subsets_cover_nodes_nearly_equally(nodes, clients):
    ordered = subsets.ring(f"node-{n}" for n in range(nodes))
    cover = dict.fromkeys(ordered, 0)
    for client in range(clients):
        for node_id in subsets.subset(ordered, client, 64):
            cover[node_id] += 1
    mean = clients * 64 / nodes

    assert max(cover.values()) - min(cover.values()) <= max(3, 0.35 * mean)


@given(ids.filter(lambda found: len(found) > 12), st.integers(0, 50))
def test_a_node_that_comes_changes_little_of_a_subset(node_ids, client):
    before = set(subsets.subset(subsets.ring(node_ids), client, 10))
    after = set(subsets.subset(subsets.ring([*node_ids, "the new one"]), client, 10))

    assert len(before - after) <= 2


def test_client_numbers_are_used_again():
    assert subsets.free_number([]) == 0
    assert subsets.free_number([0, 1, 3]) == 2


@given(st.dictionaries(st.text(max_size=3), st.none() | st.floats(0, 1e12), min_size=1))
def test_weights_are_finite_positive_and_one_in_the_mean(raw):
    weights = normalised(raw)

    assert all(0 < w < math.inf for w in weights.values())
    assert sum(weights.values()) / len(weights) == pytest.approx(1.0)


def test_an_unknown_weight_is_the_mean_of_the_known_and_none_is_forgotten():
    weights = normalised({"fast": 3.0, "slow": 1.0, "new": None, "dead slow": 0.0})

    assert weights["new"] == pytest.approx((3 + 1 + 0) / 3 / ((3 + 1 + 0) / 3), rel=0.1)
    assert weights["fast"] > weights["new"] > weights["slow"] > weights["dead slow"] > FLOOR / 2


NODE = TableNode("a", 1, "h:1", curve=SpeedCurve(0.1, 0.02, 4))


@pytest.mark.parametrize(
    ("changed", "structure", "figures"),
    [
        ({}, False, False),
        ({"weight": 1.04}, False, False),
        ({"weight": 1.06}, False, True),
        ({"curve": None}, False, True),
        ({"curve": SpeedCurve(0.104, 0.02, 4)}, False, False),
        ({"curve": SpeedCurve(0.11, 0.02, 4)}, False, True),
        ({"curve": SpeedCurve(0.1, 0.02, 5)}, False, True),
        ({"state": NodeState.DRAINING}, True, False),
        ({"address": "h:2"}, True, False),
        ({"incarnation": 2}, True, False),
    ],
)
def test_what_makes_a_new_table(changed, structure, figures):
    values = {name: getattr(NODE, name) for name in NODE.__slots__} | changed
    new = TableNode(**values)

    assert hysteresis.structure_changed([NODE], [new]) is structure
    assert hysteresis.figures_moved([NODE], [new], 0.05) is figures


def test_an_average_follows_at_its_own_pace():
    mean = Smooth(tau_s=2.0)
    seen = [round(mean.add(10.0 if second else 0.0, float(second)), 2) for second in range(5)]

    assert seen == [0.0, 3.93, 6.32, 7.77, 8.65]
