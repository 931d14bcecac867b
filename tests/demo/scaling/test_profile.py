"""The scaling act's load: rises and falls in steps, the same each time, and has room at the end."""

import tomllib
from pathlib import Path

import pytest

from examples.demo.scaling import config
from examples.demo.scaling.profile import MOST_NODES, SLOTS, SPEED, profile
from examples.demo.workload import Mix
from meshlb import settings

MIX = Mix()


@pytest.mark.parametrize("seconds", [4, 20, 60, 1200, 3600])
def test_steps_follow_each_other_and_leave_room(seconds):
    course = profile(seconds, MIX)
    assert course.steps[0].since_s == 0
    for step, after in zip(course.steps, course.steps[1:], strict=False):
        assert step.until_s == after.since_s
    assert course.steps[-1].until_s == pytest.approx(course.load_s)
    assert 2 <= seconds - course.load_s <= 15
    assert len(course.peaks) == course.cycles
    assert all(p.since_s < p.middle_s < p.until_s for p in course.peaks)
    assert course.rate(seconds) == 0.0
    assert course.rate(course.peaks[0].middle_s) == course.peak_rate


def test_long_acts_go_up_and_down_several_times():
    assert profile(60, MIX).cycles == 1
    assert profile(60, MIX).turns == 1
    assert profile(1200, MIX).cycles == 8
    assert profile(1200, MIX).turns == 15


def test_the_most_nodes_can_serve_the_peak():
    assert profile(60, MIX).peak_rate < 0.9 * MOST_NODES * SPEED / MIX.seconds(SLOTS)


def test_the_same_seed_gives_the_same_calls_at_the_rate_of_each_step():
    course = profile(600, MIX)
    calls = list(course.arrivals(1, MIX))
    assert calls == list(course.arrivals(1, MIX))
    assert calls != list(course.arrivals(2, MIX))
    assert [c.at_s for c in calls] == sorted(c.at_s for c in calls)
    assert calls[-1].at_s < course.load_s
    for peak in course.peaks:
        count = sum(peak.since_s <= c.at_s < peak.until_s for c in calls)
        assert count == pytest.approx(peak.rate * (peak.until_s - peak.since_s), rel=0.2)


@pytest.mark.parametrize("seconds", [4, 60, 3600])
def test_the_controller_takes_the_configuration(seconds, tmp_path):
    calm_s = profile(seconds, MIX).calm_s
    path = tmp_path / "meshlb.toml"
    path.write_text(config.text(calm_s, Path("logs")))
    policy = settings.load(path).policies[config.SERVICE]
    assert (policy.min, policy.max, policy.stable_window_s) == (1, MOST_NODES, calm_s)
    raw = tomllib.loads(path.read_text())["service"][config.SERVICE]["actuator"]
    assert raw["kind"] == "process"
    assert "examples.modelserver" in raw["command"]
