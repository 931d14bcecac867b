"""The latency rule and the queueing formulas under it."""

import dataclasses

import pytest

from meshlb import plugins
from meshlb.model import SpeedCurve
from meshlb.policy import queueing
from meshlb.scale_model import (
    Verb,
)
from tests.policy.wants import inputs, one, seen


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

    def test_slots_that_slow_each_other_down_are_no_servers_of_their_own(self):
        # a curve learned of nodes with slots is flat below them: it says little of what a call
        # takes beside more; 16 of them, measured at 4, would not keep their 2 s
        more = {"slots": 16.0, "service_s": 2.0, "served": 4.0}
        signals = {"rate": seen(20.0), "queued": seen(0.0)}
        flat = SpeedCurve(2.0, 0.125, 16)
        given = inputs(10, signals=signals, curve=flat, **more)
        want = one("latency", given, objective_s=7.5, quantile="p95", scatter=0.7)
        blind = dataclasses.replace(given, service_s=None)
        assert one("latency", blind, objective_s=7.5, quantile="p95", scatter=0.7).count < 5
        assert 5 <= want.count <= 10
        # at the occupancy that it was measured at, it is what was measured
        at_rest = one("latency", given, objective_s=1.7, quantile="p50", scatter=0)
        assert 10 <= at_rest.count <= 200
        busier = dataclasses.replace(given, served=8.0)
        again = one("latency", busier, objective_s=7.5, quantile="p95", scatter=0.7)
        assert again.count <= want.count

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
