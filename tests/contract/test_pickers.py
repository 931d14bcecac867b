"""Every picker found in its folder, and those of third parties."""

import heapq
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlb import plugins
from meshlb.model import SpeedCurve, TableNode
from meshlb.policy import sound, zones
from meshlb.policy.load import Candidate, ClientLoad, NodeLoad

PACKAGE = "meshlb.policy.pickers"
curves = st.none() | st.builds(
    SpeedCurve, st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(0, 1e3)
)


@pytest.fixture(params=plugins.names(PACKAGE), scope="session")
def module(request):
    return plugins.load(PACKAGE, request.param)


def candidate(number, in_flight=0, others=None, **of_node):
    load = NodeLoad()
    load.in_flight, load.others = in_flight, others
    return Candidate(TableNode(f"n{number}", 1, f"h{number}:1", **of_node), load)


def client_of(nodes, share=None):
    client = ClientLoad()
    client.in_flight = sum(one.load.in_flight for one in nodes)
    client.share = share
    return client


def built(module, nodes, share=None, seed=1):
    return module.build(nodes, client_of(nodes, share), random.Random(seed), module.Params())


nodes_of_any_kind = st.lists(
    st.builds(
        candidate,
        number=st.integers(0, 99),
        in_flight=st.integers(0, 10_000),
        others=st.none() | st.floats(0, 1e6),
        weight=st.floats(1e-6, 1e6),
        curve=curves,
        slots=st.none() | st.integers(1, 1000),
        zone=st.sampled_from(["", "a", "b"]),
    ),
    min_size=1,
    max_size=20,
)


@given(
    nodes=nodes_of_any_kind,
    share=st.none() | st.floats(1e-9, 1.0),
    age_s=st.none() | st.floats(0, 100),
    zone=st.sampled_from(["", "a"]),
    seed=st.integers(0, 5),
)
@settings(max_examples=60)
def test_whatever_is_known_a_pick_is_one_of_the_nodes(module, nodes, share, age_s, zone, seed):
    client = client_of(nodes, share)
    client.count_age_s = age_s
    picker = zones.build(module.build, nodes, client, random.Random(seed), module.Params(), zone)

    assert all(0 <= picker.pick(now * 0.1) < len(nodes) for now in range(30))


@pytest.mark.parametrize("count", [1, 2, 64, 1000])
def test_equal_idle_nodes_are_used_alike(module, count):
    picker = built(module, [candidate(n) for n in range(count)])
    calls = Counter(picker.pick(0.0) for _ in range(200 * count if count < 1000 else 20_000))
    mean = calls.total() / count

    assert len(calls) == count
    assert max(calls.values()) < mean * 1.5 + 30


def test_the_same_seed_gives_the_same_picks(module):
    nodes = [candidate(n, in_flight=n % 3, weight=1 + n % 4) for n in range(10)]
    first, second = built(module, nodes, seed=7), built(module, nodes, seed=7)

    assert [first.pick(0.0) for _ in range(100)] == [second.pick(0.0) for _ in range(100)]


def test_a_busier_equal_node_is_not_preferred(module):
    nodes = [candidate(0, in_flight=0), candidate(1, in_flight=8)]
    picker = built(module, nodes)
    calls = Counter(picker.pick(0.0) for _ in range(2000))

    assert calls[1] <= calls[0] * 1.1 + 50


def test_an_unknown_node_is_neither_left_out_nor_flooded(module):
    known = [candidate(n, curve=SpeedCurve(0.04, 0.01, 4)) for n in range(4)]
    picker = built(module, [*known, candidate(9)])
    calls = Counter(picker.pick(0.0) for _ in range(5000))

    assert 200 < calls[4] < 2500


def test_its_file_says_what_it_is_and_its_parameters_have_defaults(module):
    assert len(module.__doc__.splitlines()) > 2
    assert module.Params.__doc__
    module.Params()


def test_own_zone_comes_first_and_is_left_when_it_is_clearly_slower(module):
    home = [candidate(n, zone="here", curve=SpeedCurve(0.04, 0.01, 4)) for n in range(2)]
    away = [candidate(n + 2, zone="there", curve=SpeedCurve(0.04, 0.01, 4)) for n in range(2)]

    def share_at_home(in_flight):
        for one in home:
            one.load.in_flight = in_flight
        nodes = home + away
        picker = zones.build(
            module.build, nodes, client_of(nodes), random.Random(1), module.Params(), "here"
        )
        return sum(picker.pick(0.0) < 2 for _ in range(500)) / 500

    assert share_at_home(0) == 1.0
    assert share_at_home(50) == 0.0


@pytest.mark.parametrize("failing", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("known", [True, False])
def test_a_node_that_fails_fast_gets_less_and_never_more(module, failing, known):
    """Calls take 40 ms at nodes in order; at one a part of them fails in 1 ms."""
    curve = SpeedCurve(0.04, 0.005, 8) if known else None
    nodes = [candidate(n, curve=curve) for n in range(4)]
    client, rng = client_of(nodes), random.Random(2)
    ends, calls, outcomes = [], Counter(), {}
    picker = None
    for step in range(20_000):  # 200 calls a second, a look every 25 ms
        now = step * 0.005
        while ends and ends[0][0] <= now:
            at, chosen, took_s, ok = heapq.heappop(ends)
            nodes[chosen].load.in_flight -= 1
            client.in_flight -= 1
            nodes[chosen].load.observe_response(took_s, ok, at)
            good, failed = outcomes.get(chosen, (0, 0))
            outcomes[chosen] = (good + ok, failed + (not ok))
        if step % 5 == 0:
            for index, one in enumerate(nodes):
                one.load.observe_outcomes(*outcomes.get(index, (0, 0)), 0.025)
            outcomes = {}
            args = (nodes, client, random.Random(step), module.Params(), "")
            picker = sound.build(module.build, *args)
        chosen = picker.pick(now)
        nodes[chosen].load.in_flight += 1
        client.in_flight += 1
        calls[chosen] += step >= 2000
        ok = chosen != 0 or rng.random() >= failing
        took_s = 0.04 if ok else 0.001
        heapq.heappush(ends, (now + took_s, chosen, took_s, ok))

    assert calls[0] < calls.total() / 4 * (1.05 - failing / 2)
