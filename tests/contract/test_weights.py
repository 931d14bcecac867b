"""Every weight rule found in its folder, and those of third parties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb import plugins
from meshlb.model import SpeedCurve
from meshlb.policy.weights import Seen

PACKAGE = "meshlb.policy.weights"
amounts = st.none() | st.floats(0, 1e6)
seen = st.builds(
    Seen,
    curve=st.none()
    | st.builds(SpeedCurve, st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(0, 1e3)),
    in_flight=amounts,
    utilization=st.none() | st.floats(0, 10),
    requests_per_s=amounts,
    errors_per_s=amounts,
    reported_for_s=st.floats(0, 1e5),
    report_age_s=st.floats(0, 1e5),
)


@pytest.fixture(params=plugins.names(PACKAGE), scope="session")
def rule(request):
    return plugins.load(PACKAGE, request.param)


@given(found=seen)
def test_a_weight_is_unknown_or_finite_and_above_zero(rule, found):
    weight = rule.weight(found, rule.Params())

    assert weight is None or 0 < weight < math.inf


def test_nothing_known_is_unknown_or_the_same_for_all(rule):
    assert rule.weight(Seen(), rule.Params()) in (None, 1.0)


def test_more_load_never_gives_more_weight(rule):
    def at(in_flight, utilization):
        return rule.weight(
            Seen(
                curve=SpeedCurve(0.1, 0.02, 4),
                in_flight=in_flight,
                utilization=utilization,
                requests_per_s=100.0,
                errors_per_s=0.0,
                reported_for_s=60.0,
            ),
            rule.Params(),
        )

    weights = [at(float(n), 0.1 + n / 20) for n in range(20)]

    assert weights == sorted(weights, reverse=True)


def test_its_file_says_what_it_is(rule):
    assert rule.__doc__
    assert rule.Params.__doc__


def test_the_orca_weight_is_that_of_grpcs_own_formula():
    orca = plugins.load(PACKAGE, "orca")
    known = Seen(utilization=0.5, requests_per_s=100.0, errors_per_s=10.0, reported_for_s=60.0)

    assert orca.weight(known, orca.Params()) == pytest.approx(100 / (0.5 + 10 / 100 * 1.0))
    blacked_out = Seen(utilization=0.5, requests_per_s=100.0, reported_for_s=9.0)
    assert orca.weight(blacked_out, orca.Params()) is None
