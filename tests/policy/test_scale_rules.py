"""What each scaling rule wants, by examples."""

import pytest

from meshlb import plugins
from meshlb.model import SpeedCurve
from meshlb.policy import queueing
from meshlb.policy.decide_scale import decide
from meshlb.scale_model import (
    Inputs,
    Manual,
    Observed,
    RuleSpec,
    ScalePolicy,
    Verb,
)


def seen(stable, measured=1, panic=None, missing=0, mean=None):
    panic = stable if panic is None else panic
    mean = stable / measured if mean is None else mean
    return Observed(stable, panic, panic, mean, measured, missing)


def inputs(previous=3, ready=None, starting=0, signals=None, **more):
    ready = previous if ready is None else ready
    more = {"recent_most": 0, "rate_base_out": previous, "rate_base_in": previous} | more
    return Inputs(
        now=1.7e9, ready=ready, starting=starting, draining=0, previous=previous,
        signals=signals or {}, **more,
    )  # fmt: skip


def ask(kind, given, **params):
    module = plugins.load("meshlb.policy.rules", kind)
    made = module.Params(**params)
    assert made.faults() == []
    return module.wants(given, made, kind)


def one(kind, given, **params):
    wants = ask(kind, given, **params)
    assert len(wants) == 1
    return wants[0]


class TestGroup:
    def test_the_known_case_three_nodes_at_60_percent_of_80_needs_no_change(self):
        # nodes loaded 10, 20 and 30: CPU 30, 60 and 90 %, in the mean 60 %
        cpu = seen(0.3 + 0.6 + 0.9, measured=3)
        policy = ScalePolicy("s", rules=(RuleSpec("group", {"signal": "cpu", "target": 0.8}),))

        decision = decide(policy, inputs(previous=3, signals={"cpu": cpu}))

        assert decision.wants[0].count == 3
        assert decision.target == 3
        assert decision.reason == "stays 3: group wants 3 (cpu 180 % / 80 % a node)"

    @pytest.mark.parametrize(
        ("total", "target", "count"),
        [(0.0, 8, 0), (0.1, 8, 1), (8, 8, 1), (8.1, 8, 2), (60, 20, 3),
         (1.8, 0.6, 3), (1e300, 1, 10_000)],
    )  # fmt: skip
    def test_counts(self, total, target, count):
        want = one("group", inputs(signals={"in_flight": seen(total)}), target=target)
        assert (want.verb, want.count) == (Verb.SET, count)

    def test_starting_nodes_change_nothing(self):
        load = {"in_flight": seen(100, measured=3)}
        calm = one("group", inputs(3, signals=load), target=8)
        busy = one("group", inputs(13, ready=3, starting=10, signals=load), target=8)
        assert calm.count == busy.count == 13

    def test_nodes_that_never_told_count_like_the_mean(self):
        want = one(
            "group", inputs(4, signals={"gpu": seen(0.9, measured=1)}), signal="gpu", target=0.9
        )
        assert want.count == 4

    def test_auto_is_the_declared_slots_else_the_learned_curve(self):
        load = {"in_flight": seen(40)}
        of_slots = inputs(slots=8.0, curve=SpeedCurve(1, 0.5, 2), signals=load)
        assert one("group", of_slots).count == 5
        assert one("group", inputs(curve=SpeedCurve(1, 0.25, 4), signals=load)).count == 10
        # an engine that batches: at 10 in flight latency has doubled
        assert one("group", inputs(curve=SpeedCurve(1, 0.1, 1), signals=load)).count == 4
        assert one("group", inputs(signals=load)).verb is None

    def test_many_silent_nodes_block_scale_in(self):
        load = {"cpu": seen(0.4, measured=4, missing=1)}
        wants = ask("group", inputs(5, signals=load), signal="cpu", target=0.8)
        assert [w.verb for w in wants] == [Verb.SET, None]
        assert "1 of 5 nodes" in wants[1].reason

    @pytest.mark.parametrize(
        "params",
        [
            {"signal": "response_time"},
            {"signal": "speed"},
            {"target": 0},
            {"target": -1},
            {"target": float("nan")},
            {"target": True},
            {"target": "much"},
            {"signal": "cpu", "target": 80},
            {"signal": "tokens", "target": "auto"},
        ],
    )
    def test_faults(self, params):
        module = plugins.load("meshlb.policy.rules", "group")
        faults = module.Params(**params).faults()
        assert len(faults) == 1
        assert " = " in faults[0]


class TestReserve:
    def test_a_number_is_added_before_rounding_up(self):
        load = {"in_flight": seen(41.2)}
        want = one("reserve", inputs(signals=load), target=8, k=0.8)
        assert want.count == 6
        assert want.reason == "41.2 in flight / 8 a node + 0.8 spare"

    def test_square_root_staffing_counts_slots_not_nodes(self):
        # 64 busy servers need 8 more at beta 1: 8 slots are one node of 8, eight nodes of 1
        load = {"in_flight": seen(64)}
        assert one("reserve", inputs(signals=load), target=8).count == 9
        assert one("reserve", inputs(signals=load), target=1).count == 72

    def test_a_clear_rise_counts_for_the_start_up_time(self):
        given = inputs(signals={"in_flight": seen(40)}, growth={"in_flight": 0.5}, start_up_s=30.0)
        want = one("reserve", given, target=10)
        assert want.count == 6  # 40 + 0.5 x 30 = 55
        assert "rise of 30 s" in want.reason

    def test_a_forecast_takes_the_place_of_the_trend(self):
        given = inputs(
            signals={"in_flight": seen(40)},
            growth={"in_flight": 5.0},
            forecast={"in_flight": 62.0},
            start_up_s=30.0,
        )
        assert one("reserve", given, target=10).count == 7

    def test_a_service_at_rest_gets_no_reserve(self):
        at_rest = inputs(0, signals={"in_flight": seen(0.0, measured=1)})
        assert one("reserve", at_rest, target=8, k=2).count == 0
        awake = inputs(1, signals={"in_flight": seen(0.0, measured=1)})
        assert one("reserve", awake, target=8, k=2).count == 2

    def test_auto_is_a_part_of_the_slots(self):
        given = inputs(signals={"in_flight": seen(32)}, slots=16.0)
        assert one("reserve", given, k=0).count == 4
        assert one("reserve", given, k=0, fill=1.0).count == 2

    def test_a_rise_is_believed_to_a_part_of_the_load(self):
        given = inputs(signals={"in_flight": seen(40)}, growth={"in_flight": 9.0}, start_up_s=60.0)
        assert one("reserve", given, target=10).count == 6  # 40 + 0.3 x 40

    def flow(self, in_flight, rate, served, queued=0.0, service_s=2.0):
        signals = {"in_flight": seen(in_flight), "rate": seen(rate), "queued": seen(queued)}
        return inputs(10, signals=signals, service_s=service_s, served=served)

    def test_calls_that_come_are_the_load_once_their_time_is_known(self):
        # at 8 a node calls take as long as they are measured to, whatever is in flight now
        given = self.flow(in_flight=150.0, rate=40.0, served=8.0)
        want = one("reserve", given, target=8, k=0)
        assert want.count == 10
        assert want.reason == "40 calls/s x 2 s / 8 a node + 0 spare"

    def test_a_step_in_the_rate_counts_in_full_before_calls_pile_up(self):
        given = self.flow(in_flight=80.0, rate=160.0, served=8.0)
        assert one("reserve", given, target=8, k=0).count == 40

    def test_calls_are_slower_beside_more_and_the_load_is_that_at_the_target(self):
        crowded = self.flow(in_flight=240.0, rate=40.0, served=24.0, service_s=6.0)
        assert one("reserve", crowded, target=8, k=0).count == 15  # 40 x 3 s, not 40 x 6

    def test_a_queue_counts_by_what_it_takes_to_work_it_off(self):
        given = self.flow(in_flight=680.0, rate=40.0, served=8.0, queued=600.0)
        want = one("reserve", given, target=8, k=0)
        assert want.count == 13  # 80 + 600 x 2 s / 60 s = 100, and not 680
        assert "20 for 600 queued" in want.reason

    def test_calls_that_hang_or_take_long_are_a_load_too(self):
        hang = self.flow(in_flight=80.0, rate=0.0, served=8.0)
        assert one("reserve", hang, target=8, k=0).count == 5
        long = self.flow(in_flight=80.0, rate=0.1, served=8.0, service_s=300.0)
        assert one("reserve", long, target=8, k=0).count == 10

    def test_faults_come_all_at_once(self):
        module = plugins.load("meshlb.policy.rules", "reserve")
        faults = module.Params(signal="x", k=-1, beta=11, horizon_s="long").faults()
        assert len(faults) == 4


class TestManual:
    def test_a_count_holds_until_it_expires(self):
        manual = Manual(count=7, expires_at=1.7e9 + 600, reason="launch")
        want = one("manual", inputs(manual=manual))
        assert (want.verb, want.count) == (Verb.SET, 7)
        assert want.reason == "set by hand, for 10 min more: launch"
        assert ask("manual", inputs(manual=Manual(count=7, expires_at=1.7e9))) == ()
        assert ask("manual", inputs(manual=Manual(min=2))) == ()

    def test_a_policy_may_fix_a_count(self):
        assert one("manual", inputs(), count=4).count == 4
        assert one("manual", inputs(manual=Manual(count=9)), count=4).count == 9


class TestThreshold:
    def cpu(self, mean, panic=None, ready=3, **more):
        panic = mean if panic is None else panic
        signal = seen(mean * ready, measured=ready, panic=panic * ready)
        return inputs(ready=ready, signals={"cpu": signal}, **more)

    def test_above_between_below(self):
        assert one("threshold", self.cpu(0.9), low=0.5).count == 4
        assert one("threshold", self.cpu(0.9), low=0.5, step=3).count == 6
        assert one("threshold", self.cpu(0.6), low=0.5).count == 3
        assert one("threshold", self.cpu(0.4), low=0.5).count == 0
        assert one("threshold", self.cpu(0.7)).count == 0

    def test_what_starts_already_is_waited_for(self):
        # 3 nodes at 95 %, 1 starts: over four that is 71 %
        assert one("threshold", self.cpu(0.95, previous=4, starting=1)).count == 4
        # five starts are needed at least: over 4 that would still be above
        far = self.cpu(0.95, ready=10, previous=11, starting=1)
        assert one("threshold", far).count == 12

    def test_relief_in_the_last_seconds_ends_it(self):
        want = one("threshold", self.cpu(0.9, panic=0.6))
        assert want.count == 3
        assert "no more in the last seconds" in want.reason

    def test_latencies_wait_for_every_start(self):
        slow = {"response_time": seen(2.0, measured=3, mean=2.0)}
        params = {"signal": "response_time", "high": 1.0}
        assert one("threshold", inputs(3, signals=slow), **params).count == 4
        starting = inputs(4, ready=3, starting=1, signals=slow)
        assert one("threshold", starting, **params).count == 4

    def test_no_calls_have_no_latency_and_that_is_no_reason_to_stay(self):
        idle = inputs(3, signals={"in_flight": seen(0.0, measured=3)})
        want = one("threshold", idle, signal="response_time", high=1.0)
        assert (want.verb, want.count) == (Verb.AT_LEAST, 0)

    @pytest.mark.parametrize(
        "params", [{"high": 80}, {"high": 0.5, "low": 0.6}, {"step": 0}, {"step": 1.5}]
    )
    def test_faults(self, params):
        module = plugins.load("meshlb.policy.rules", "threshold")
        assert len(module.Params(**params).faults()) == 1


class TestForecast:
    def test_it_only_ever_raises(self):
        given = inputs(3, forecast={"in_flight": 80.0}, start_up_s=155.0)
        want = one("forecast", given, target=10)
        assert (want.verb, want.count) == (Verb.AT_LEAST, 8)
        assert want.reason == "80 in flight forecast in 155 s / 10 a node"

    def test_none_says_nothing_and_a_breath_of_one_wakes_nobody(self):
        assert ask("forecast", inputs(3), target=10) == ()
        assert one("forecast", inputs(3, forecast={"in_flight": 0.3}), target=10).count == 0


class TestLatency:
    def given(self, rate, previous=3, curve=None, **signals):
        curve = curve or SpeedCurve(0.1, 0.1, 1)
        found = {"rate": seen(rate), "queued": seen(0.0)} | signals
        return inputs(previous, signals=found, curve=curve)

    def test_the_smallest_count_that_meets_the_objective(self):
        given = self.given(rate=40.0, previous=5)
        want = one("latency", given, objective_s=0.5, quantile=0.95)
        late = {n: queueing.response_tail(n, 40.0, 0.1, 0.5) for n in range(4, 8)}
        smallest = min(n for n, part in late.items() if part <= 0.05)
        assert want.count == smallest
        assert "40 calls/s" in want.reason

    @pytest.mark.parametrize("quantile", ["p50", "p90", "p95", "p99"])
    def test_tighter_quantiles_want_no_less(self, quantile):
        given = self.given(rate=40.0)
        loose = one("latency", given, objective_s=0.8, quantile=0.5)
        assert one("latency", given, objective_s=0.8, quantile=quantile).count >= loose.count

    def test_more_calls_want_no_less(self):
        found = [
            one("latency", self.given(rate=float(r)), objective_s=0.5).count
            for r in range(1, 400, 7)
        ]
        assert found == sorted(found)

    def test_what_cannot_be_met_is_said(self):
        want = one("latency", self.given(rate=1.0), objective_s=0.1, quantile=0.99)
        assert want.verb is None
        assert "an idle node takes 100 ms" in want.reason
        alike = one("latency", self.given(rate=1.0), objective_s=0.11, quantile=0.99, scatter=0)
        assert alike.verb is Verb.SET

    def test_an_engine_that_batches_queues_nothing(self):
        curve = SpeedCurve(1.0, 0.02, 1)  # 50 calls a second at the most
        want = one("latency", self.given(rate=90.0, curve=curve), objective_s=4.0, quantile=0.9)
        assert 2 <= want.count <= 8

    def test_time_to_first_token_adds_the_wait_to_what_is_seen_without(self):
        given = self.given(rate=40.0, previous=8, time_to_first_token=seen(0.2, mean=0.2))
        want = one("latency", given, signal="time_to_first_token", objective_s=0.5, quantile=0.95)
        assert 4 < want.count <= 8

    def test_without_a_curve_it_cannot_tell_and_without_calls_none_is_needed(self):
        unknown = inputs(3, signals={"rate": seen(4.0)})
        assert one("latency", unknown).verb is None
        assert one("latency", inputs(3, signals={"rate": seen(0.0)})).count == 0

    def test_a_queue_is_worked_off(self):
        calm = one("latency", self.given(rate=40.0), objective_s=0.5)
        queued = one("latency", self.given(rate=40.0, queued=seen(300.0)), objective_s=0.5)
        assert queued.count > calm.count

    @pytest.mark.parametrize(
        "params",
        [
            {"objective_s": 0},
            {"quantile": 1.0},
            {"quantile": "p5"},
            {"quantile": "fast"},
            {"signal": "cpu"},
            {"scatter": 2},
        ],
    )
    def test_faults(self, params):
        module = plugins.load("meshlb.policy.rules", "latency")
        assert len(module.Params(**params).faults()) == 1


class TestQueueing:
    @pytest.mark.parametrize(
        ("load", "servers", "most"),
        [(1, 3, 0.2), (4, 7, 0.2), (16, 21, 0.2), (64, 73, 0.2), (16, 24, 0.05), (256, 274, 0.2)],
    )
    def test_known_staffings(self, load, servers, most):
        assert queueing.wait_probability(servers, load) <= most * 1.01
        assert queueing.wait_probability(servers - 1, load) > most * 0.97

    def test_one_server_waits_as_often_as_it_is_busy(self):
        assert queueing.wait_probability(1, 0.7) == pytest.approx(0.7)
        # M/M/1: the response time is exponential with rate mu - lambda
        assert queueing.response_tail(1, 7.0, 0.1, 0.5) == pytest.approx(2.718281828**-1.5)

    @pytest.mark.parametrize("load", [0.5, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 1.999])
    @pytest.mark.parametrize("limit_s", [1e-9, 1.0, 1e6])
    def test_figures_far_out_are_still_parts(self, load, limit_s):
        part = queueing.response_tail(2, load, 1.0, limit_s)
        assert 0 <= part <= 1
        near = queueing.response_tail(2, load * (1 + 1e-7), 1.0, limit_s)
        assert near == pytest.approx(part, abs=1e-5)

    def test_the_limit_for_many_servers_joins_on(self):
        exact = queueing.wait_probability(100, 92.0)
        beyond = queueing.wait_probability(101, 93.0)
        assert beyond == pytest.approx(exact, rel=0.05)


MONDAY_9_BERLIN = 1736150400.0  # 2025-01-06 08:00 UTC
HOUR = 3600.0


OFFICE = {
    "days": ["mon", "tue", "wed", "thu", "fri"],
    "start": "08:00",
    "end": "18:00",
    "zone": "Europe/Berlin",
    "min": 5,
}


class TestSchedule:
    def bounds(self, now, *windows):
        module = plugins.load("meshlb.policy.rules", "schedule")
        params = module.Params(windows=list(windows))
        assert params.faults() == []
        given = Inputs(now=now, ready=1, starting=0, draining=0, previous=1, signals={})
        return [(w.verb, w.count) for w in module.wants(given, params, "x")]

    def test_a_window_holds_from_its_start_to_its_end_in_local_time(self):
        table = {
            -1.01: False,
            -1.0: True,
            0.0: True,
            8.99: True,
            9.0: False,
            24.0: True,
            5 * 24: False,
        }
        for hours, open_ in table.items():
            found = self.bounds(MONDAY_9_BERLIN + hours * HOUR, OFFICE)
            assert (hours, bool(found)) == (hours, open_)
        assert self.bounds(MONDAY_9_BERLIN, OFFICE) == [(Verb.AT_LEAST, 5)]

    def test_summer_time_moves_it(self):
        july = 1751864400.0  # Monday 2025-07-07 05:00 UTC: 07:00 in Berlin
        assert self.bounds(july, OFFICE) == []
        assert self.bounds(july + HOUR, OFFICE) == [(Verb.AT_LEAST, 5)]

    def test_over_midnight(self):
        night = {"days": ["mon"], "start": "22:00", "end": "06:00", "max": 2}
        at = MONDAY_9_BERLIN - 8 * HOUR  # Monday 00:00 UTC
        table = {5: False, 21.9: False, 22: True, 29.9: True, 30: False}
        for hours, open_ in table.items():
            assert (hours, bool(self.bounds(at + hours * HOUR, night))) == (hours, open_)

    def test_it_moves_the_bounds_in_effect(self):
        window = {"start": "00:00", "end": "24:00", "min": 4, "max": 6}
        policy = ScalePolicy("s", max=20, rules=(RuleSpec("schedule", {"windows": [window]}),))
        decision = decide(policy, inputs(previous=1))
        assert (decision.target, decision.least, decision.most) == (4, 4, 6)
        assert decide(policy, inputs(previous=9)).target == 4

    @pytest.mark.parametrize(
        ("windows", "names"),
        [
            ([], "windows"),
            ([{"min": 3, "max": 2}], "windows[0].min"),
            ([{"min": -1}], "windows[0].min"),
            ([{}], "windows[0]"),
            ([{"min": 1, "start": "8:00"}], "windows[0].start"),
            ([{"min": 1, "end": "25:00"}], "windows[0].end"),
            ([{"min": 1, "days": ["monday"]}], "windows[0].days"),
            ([{"min": 1, "zone": "Mars/Base"}], "windows[0].zone"),
            ([{"min": 1, "zone": "../etc/passwd"}], "windows[0].zone"),
            ([{"min": 1, "colour": 2}], "windows[0].colour"),
            (
                [{"min": 5, "start": "08:00", "end": "12:00"}, {"max": 3, "start": "11:00"}],
                "windows[0].min",
            ),
            (
                [
                    {"min": 5, "start": "23:00", "end": "02:00", "days": ["sun"]},
                    {"max": 3, "start": "00:00", "end": "01:00", "days": ["mon"]},
                ],
                "windows[0].min",
            ),
            (
                [
                    {"min": 5, "start": "08:00", "end": "09:00", "zone": "Asia/Tokyo"},
                    {"max": 3, "start": "23:30", "end": "24:00"},
                ],
                "windows[0].min",
            ),
            ("mon", "windows"),
        ],
    )  # fmt: skip
    def test_faults(self, windows, names):
        module = plugins.load("meshlb.policy.rules", "schedule")
        faults = module.Params(windows=windows).faults()
        assert len(faults) == 1
        assert faults[0].startswith(names)

    def test_windows_that_follow_each_other_do_not_contradict(self):
        self.bounds(
            MONDAY_9_BERLIN,
            {"min": 5, "start": "08:00", "end": "18:00"},
            {"max": 3, "start": "18:00", "end": "08:00"},
        )
