"""The scaling simulator as a whole, on small traces."""

import json
import math
import sys

import pytest

from meshlb.cli.__main__ import main
from meshlb.errors import InvalidInputError
from meshlb.scale_model import RuleSpec, ScalePolicy
from meshlb.sim.rivals import hpa
from meshlb.sim.scale import bounds, compare, trace
from meshlb.sim.scale.autoscaler import Seen
from meshlb.sim.scale.engine import EngineParams
from meshlb.sim.scale.fleet import Grace
from meshlb.sim.scale.own import Own
from meshlb.sim.scale.run import World, simulate
from meshlb.sim.scale.trace import Request

SIZES = [Request(0.0, 1000, 200), Request(0.0, 300, 60), Request(0.0, 2000, 300)]
POLICY = ScalePolicy("s", max=100, rules=(RuleSpec("reserve", {"target": 8}),))


def world(rates=(4.0, 12.0, 3.0), step_s=120.0, **more):
    requests = trace.steps(rates, step_s, SIZES)
    return World(requests, **{"start_up_s": 20.0, "initial": 2, "picker": "least_request"} | more)


class Script:
    """Wants what it is told to, from an instant on."""

    interval_s = 1.0

    def __init__(self, counts, grace):
        self.name = "script"
        self.counts = counts
        self.grace = grace

    def start(self, ready):
        pass

    def target(self, seen: Seen, now):
        return [count for at, count in self.counts.items() if at <= now][-1]


def test_equal_worlds_give_equal_outcomes():
    first, second = (simulate(world(), Own(POLICY, 16)) for _ in range(2))

    assert first.figures() == second.figures()
    assert first.targets == second.targets


def test_every_call_ends_and_bills_begin_with_the_order():
    plain = world((2.0,), 100.0)
    outcome = simulate(plain, Script({0: 2, 50: 3}, Grace()))

    assert all(call.done_at is not None for call in outcome.calls)
    assert outcome.node_seconds == pytest.approx(2 * plain.end_s + plain.end_s - 50)


def test_replicas_are_ready_a_start_up_time_after_their_order():
    outcome = simulate(world((2.0,), 100.0), Script({0: 2, 51: 3}, Grace()))

    ready = {moment.at_s: (moment.ready, moment.starting) for moment in outcome.moments}
    assert ready[55.0] == (2, 1)
    assert ready[75.0] == (3, 0)


def test_calls_wait_while_there_is_no_replica():
    outcome = simulate(world((1.0,), 60.0, initial=1), Script({0: 0, 30: 1}, Grace()))

    waited = [call.done_at - call.arrived for call in outcome.calls if 5 < call.arrived < 29]
    assert min(waited) > 20
    assert outcome.broken == 0


def test_a_grace_cuts_long_calls_off_and_none_does_not():
    long = [Request(float(i), 1000, 8000) for i in range(40)]
    for grace, cut in ((Grace(limit_s=5.0), True), (Grace(), False)):
        outcome = simulate(
            World(long, initial=4, picker="least_request"), Script({0: 4, 20: 1}, grace)
        )
        assert (outcome.broken > 0) is cut
        assert sum(call.done_at is None for call in outcome.calls) == outcome.broken


def test_a_stopped_replica_is_billed_while_it_waits():
    def node_seconds(least_s):
        script = Script({0: 2, 50: 1}, Grace(least_s=least_s))
        return simulate(world((0.5,), 100.0), script).node_seconds

    assert node_seconds(30.0) > node_seconds(0.0) + 15


def test_meshlb_scales_out_and_in_and_breaks_nothing():
    outcome = simulate(world(step_s=400.0), Own(POLICY, 16))
    counts = [count for _, count in outcome.targets]

    assert max(counts) > 4
    assert counts[-1] < max(counts)
    assert outcome.broken == 0
    assert outcome.attainment > 0.8


def test_the_first_fleet_suits_the_time_in_which_nobody_can_have_acted():
    quick, slow = (world((0.5, 8.0), 100.0, start_up_s=start_up_s) for start_up_s in (1.0, 60.0))

    assert compare.settled(quick).initial == 1
    assert compare.settled(slow).initial > 1
    assert compare.settled(slow, 3).initial == 3


def test_the_oracle_orders_a_start_up_time_ahead():
    assert bounds.ahead([1, 1, 1, 3, 1, 1], 2.0) == [1, 3, 3, 3, 1, 1]
    assert bounds.ahead([1, 2, 1, 1, 1, 4], 1.0) == [2, 2, 1, 1, 4, 4]


def test_demand_is_the_work_that_arrives():
    engine = EngineParams()
    requests = [Request(float(at), 1000, 200) for at in range(100)]

    assert bounds.demand(requests, engine, 10)[50] == pytest.approx(engine.work_s(1000, 200))


def test_comparing_gives_every_name_and_the_oracle_is_cheaper_than_static():
    settled = compare.settled(world())
    found = compare.compare(settled, POLICY, ["hpa"])

    assert list(found) == ["meshlb", "hpa", "oracle", "static"]
    assert found["oracle"].attainment >= 0.99
    assert found["oracle"].node_seconds < found["static"].node_seconds
    assert found["hpa"].figures() == simulate(settled, hpa.build(hpa.Params(), 16)).figures()


class TestTrace:
    def write(self, tmp_path, text):
        path = tmp_path / "trace.csv"
        path.write_text(text)
        return path

    def test_it_is_read_in_order_from_zero(self, tmp_path):
        path = self.write(
            tmp_path, "arrival_s,context_tokens,generated_tokens\n7.5,10,2\n5,374,44\n"
        )
        assert trace.load(path) == [(0.0, 374, 44), (2.5, 10, 2)]

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("arrival_s,context_tokens\n1,2\n", "missing: generated_tokens"),
            ("arrival_s,context_tokens,generated_tokens\n", "at least one request"),
            ("arrival_s,context_tokens,generated_tokens\n1,x,3\n", "context_tokens = 'x'"),
            ("arrival_s,context_tokens,generated_tokens\n1,2,-3\n", "generated_tokens = '-3'"),
            ("arrival_s,context_tokens,generated_tokens\n1,2\n", "generated_tokens = None"),
        ],
    )
    def test_a_bad_one_is_refused(self, tmp_path, text, says):
        with pytest.raises(InvalidInputError, match=says):
            trace.load(self.write(tmp_path, text))

    def test_repeats_are_jittered_and_seeded(self):
        once = [Request(float(at), at, 1) for at in range(200)]
        thrice = trace.repeat(once, 3)

        assert len(thrice) == 600
        assert thrice == trace.repeat(once, 3) != trace.repeat(once, 3, seed=2)
        assert all(0 <= one.arrival_s - one.prompt_tokens <= 1 for one in thrice)
        assert trace.repeat(once, 1) == once
        assert 450 < len(trace.repeat(once, 2.5)) < 550
        with pytest.raises(InvalidInputError, match="rate = 0"):
            trace.repeat(once, 0)


class TestCommand:
    @pytest.fixture
    def csv(self, tmp_path):
        path = tmp_path / "trace.csv"
        rows = [f"{at / 4},{500 + at % 700},{20 + at % 90}" for at in range(400)]
        path.write_text("arrival_s,context_tokens,generated_tokens\n" + "\n".join(rows))
        return path

    def test_json_has_the_figures_of_every_policy(self, csv, tmp_path, capsys):
        out = tmp_path / "out.json"

        assert main(["simulate", "--trace", str(csv), "--json", str(out)]) == 0

        found = json.loads(out.read_text())
        assert list(found) == ["policies"]
        assert list(found["policies"]) == ["meshlb", "hpa", "kpa", "ray", "oracle", "static"]
        for figures in found["policies"].values():
            assert list(figures) == [
                "attainment", "node_seconds", "p99_ms", "reversals", "broken_streams",
            ]  # fmt: skip
            assert 0 <= figures["attainment"] <= 1
            assert math.isfinite(figures["p99_ms"])
        assert "NODE-SECONDS" in capsys.readouterr().out

    def test_a_policy_and_a_picker_come_from_the_configuration(self, csv, tmp_path, capsys):
        config = tmp_path / "meshlb.toml"
        config.write_text(
            '[service.llama]\npicker = "least_request"\n'
            "[service.llama.scale]\nmin = 3\nmax = 3\n"
            '[[service.llama.scale.rules]]\nkind = "reserve"\ntarget = 8\n'
        )
        args = ["simulate", "--trace", str(csv), "--config", str(config), "--rivals", ""]

        assert main([*args, "--json", "-", "--initial", "3"]) == 0

        found = json.loads(capsys.readouterr().out)["policies"]
        assert list(found) == ["meshlb", "oracle", "static"]
        assert found["meshlb"]["node_seconds"] == pytest.approx(3 * 399 / 4)

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            (["--rivals", "hpa,other"], "rival = 'other': one of hpa, kpa, ray"),
            (["--rate", "-1"], "rate = -1"),
            (["--startup", "-1"], "startup = -1.0: 0 to 86400"),
            (["--clients", "0"], "clients = 0"),
            (["--trace", "none.csv"], "trace = 'none.csv'"),
            (["--config", "none.toml"], "config = 'none.toml'"),
        ],
    )
    def test_bad_input_is_told(self, csv, more, says, capsys):
        assert main(["simulate", "--trace", str(csv), *more]) == 2
        assert says in capsys.readouterr().err

    def test_what_a_plot_lacks_is_told_before_the_run(self, csv, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.setattr(compare, "compare", None)

        assert main(["simulate", "--trace", str(csv), "--plot", str(tmp_path / "out.png")]) != 0
        assert "pip install 'meshlb[plot]'" in capsys.readouterr().err
