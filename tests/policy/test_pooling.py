"""Learned curves drawn to each other as far as chance explains how they differ."""

import math
import random
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.model import SpeedCurve
from meshlb.policy.pooling import MOST_SHIFT, SCATTER, pooled

figures = st.floats(1e-4, 100.0)
nodes = st.lists(
    st.tuples(st.builds(SpeedCurve, figures, figures, st.floats(0.0, 64.0)), st.floats(8.0, 1e5)),
    min_size=2,
    max_size=20,
)


def curve(base_s):
    return SpeedCurve(base_s, base_s / 4, 4.0)


def test_what_is_not_known_stays_so_and_one_curve_alone_is_left_as_it_is():
    assert pooled({}, {}) == {}
    alone = {"a": curve(0.04), "b": None}
    assert pooled(alone, {"a": 20.0, "b": 0.0}) == alone


def test_nodes_that_are_apart_by_no_more_than_chance_become_alike():
    rng = random.Random(1)
    seen = {str(i): curve(2.0 * math.exp(rng.gauss(0, 0.2))) for i in range(12)}
    found = pooled(seen, dict.fromkeys(seen, 30.0))
    scatter = pstdev(math.log(c.base_s) for c in seen.values())
    left = pstdev(math.log(c.base_s) for c in found.values())
    assert scatter > 0.15
    assert left < 0.2 * scatter


def test_nodes_that_surely_differ_are_left_as_they_are():
    seen = {str(i): curve(ms / 1000) for i, ms in enumerate([40] * 5 + [80] * 2 + [160])}
    found = pooled(seen, dict.fromkeys(seen, 100.0))
    for key, before in seen.items():
        assert found[key].base_s == pytest.approx(before.base_s, rel=0.02)


def test_one_slow_node_among_a_hundred_equal_ones_stays_slow():
    seen = {str(i): curve(0.04) for i in range(100)} | {"slow": curve(0.4)}
    found = pooled(seen, dict.fromkeys(seen, 60.0))
    assert found["slow"].base_s > 0.25
    assert found["1"].base_s == pytest.approx(0.04, rel=0.03)


def test_little_evidence_is_moved_further_than_much():
    seen = {str(i): curve(1.0 + 0.05 * i) for i in range(6)} | {
        "few": curve(1.6),
        "many": curve(1.6),
    }
    calls = dict.fromkeys(seen, 50.0) | {"few": 10.0, "many": 300.0}
    found = pooled(seen, calls)
    assert found["few"].base_s < found["many"].base_s < 1.6


@given(nodes)
def test_every_figure_stays_between_its_own_and_the_others_and_near_its_own(made):
    seen = {str(i): one for i, (one, _) in enumerate(made)}
    calls = {str(i): count for i, (_, count) in enumerate(made)}
    found = pooled(seen, calls)
    assert found.keys() == seen.keys()
    for name in ("base_s", "slope_s"):
        before = [getattr(one, name) for one in seen.values()]
        for key, one in seen.items():
            now = getattr(found[key], name)
            assert min(before) * (1 - 1e-9) <= now <= max(before) * (1 + 1e-9)
            most = MOST_SHIFT * math.sqrt(SCATTER / calls[key])
            assert abs(math.log(now / getattr(one, name))) <= most + 1e-9
