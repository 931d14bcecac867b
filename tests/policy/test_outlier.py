"""Which nodes stand out by the calls that they failed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.policy.outlier import LEAST_STEP, Params, most_ejected, outliers

ENDED = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=8
)
PARAMS = st.builds(Params, st.floats(0.01, 1), st.floats(0, 5), st.integers(1, 100))


def test_a_great_part_of_its_calls():
    ended = {"a": (10, 90), "b": (100, 0)}
    assert outliers(ended, Params()) == {"a": "90 of 100 calls failed"}


def test_too_few_calls_say_nothing():
    assert outliers({"a": (0, 49), "b": (100, 0)}, Params()) == {}
    assert "a" in outliers({"a": (0, 49), "b": (100, 0)}, Params(least_calls=49))


def test_far_below_the_others_where_there_are_enough_of_them():
    ended = dict.fromkeys("abcdefg", (100, 0)) | {"x": (70, 30)}
    assert outliers(ended, Params()) == {"x": "30 of 100 calls failed, of the other nodes 0%"}
    assert outliers({"a": (100, 0), "b": (100, 0), "x": (70, 30)}, Params()) == {}
    assert outliers(ended, Params(deviations=0)) == {}


def test_a_little_worse_than_flawless_nodes_is_no_outlier():
    assert outliers(dict.fromkeys("abcdefg", (100, 0)) | {"x": (99, 1)}, Params()) == {}


def test_what_all_share_ejects_nobody():
    assert outliers(dict.fromkeys("abcdef", (5, 95)), Params()) == {}


@pytest.mark.parametrize(
    ("nodes", "part", "most"), [(0, 0.3, 0), (1, 1.0, 0), (2, 0.1, 1), (10, 0.3, 3), (11, 0.5, 5)]
)
def test_how_many_at_once(nodes, part, most):
    assert most_ejected(nodes, part) == most


@given(ENDED, PARAMS)
def test_no_node_without_failures_or_with_few_calls_stands_out(ended, params):
    for name, reason in outliers(ended, params).items():
        good, failed = ended[name]
        assert failed > 0
        assert good + failed >= params.least_calls
        assert reason.startswith(f"{failed} of {good + failed} calls failed")


@given(ENDED, PARAMS)
def test_they_are_worse_than_the_mean_of_the_rest(ended, params):
    found = outliers(ended, params)
    judged = {k: f / (g + f) for k, (g, f) in ended.items() if g + f >= params.least_calls}
    for name in found:
        rest = [part for other, part in judged.items() if other != name]
        assert judged[name] - (sum(rest) / len(rest) if rest else 0) >= LEAST_STEP - 1e-9
