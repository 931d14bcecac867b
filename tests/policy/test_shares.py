"""The classic formulas, with the worked cases of docs/algorithms.md."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.errors import InvalidInputError
from meshlb.policy import shares

amounts = st.floats(0.01, 1000)


def test_the_worked_case_of_least_connections():
    # Printed as 10/50, 20/50, 30/50, which gives the busiest most and sums to 1.2.
    assert shares.least_connections([10, 20, 30], 40) == pytest.approx([30 / 60, 20 / 60, 10 / 60])


def test_the_worked_cases_of_the_others():
    assert shares.round_robin(4) == [0.25] * 4
    assert shares.response_time([0.1, 0.2, 0.4]) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert shares.dynamic_weight([1, 2, 5]) == pytest.approx([0.125, 0.25, 0.625])
    assert shares.water_filling([100, 50], [0, 0], 90) == pytest.approx([2 / 3, 1 / 3])


def test_full_nodes_share_alike():
    assert shares.least_connections([40, 40], 40) == [0.5, 0.5]


@given(st.lists(st.tuples(amounts, st.floats(0, 1000)), min_size=1, max_size=6), amounts)
def test_water_filling_leaves_no_better_greatest_utilisation(nodes, demand):
    capacities, loads = [c for c, _ in nodes], [load for _, load in nodes]
    parts = shares.water_filling(capacities, loads, demand)

    def after(parts):
        return [(o + r * demand) / c for r, c, o in zip(parts, capacities, loads, strict=True)]

    assert sum(parts) == pytest.approx(1.0)
    assert min(parts) >= 0
    used = [u for u, r in zip(after(parts), parts, strict=True) if r > 1e-9]
    # All that get something end at one level, and the others are above it already: optimal.
    assert max(used) == pytest.approx(min(used), rel=1e-6)
    assert all(
        load / c >= max(used) * (1 - 1e-6)
        for c, load, r in zip(capacities, loads, parts, strict=True)
        if r <= 1e-9
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: shares.round_robin(0),
        lambda: shares.response_time([0.1, 0.0]),
        lambda: shares.dynamic_weight([]),
        lambda: shares.least_connections([-1], 10),
        lambda: shares.water_filling([1, 2], [0, 0], float("nan")),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        wrong()
