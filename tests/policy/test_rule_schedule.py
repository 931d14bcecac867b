"""The schedule rule: windows in local time, and the bounds they move."""

import pytest

from meshlb import plugins
from meshlb.policy.decide_scale import decide
from meshlb.scale_model import (
    Inputs,
    RuleSpec,
    ScalePolicy,
    Verb,
)
from tests.policy.wants import inputs

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
