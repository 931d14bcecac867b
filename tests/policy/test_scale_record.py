"""Records: canonical text, both ways, replayed; previews over them; reversals."""

import json

import pytest

from meshlb.errors import InvalidInputError
from meshlb.model import SpeedCurve
from meshlb.policy.decide_scale import decide
from meshlb.policy.flapping import reversals
from meshlb.policy.preview import preview
from meshlb.policy.scale_record import from_json, policy_from_json, policy_to_json, replay, to_json
from meshlb.scale_model import Inputs, Manual, Observed, RuleSpec, ScalePolicy

UNIX = 1.7e9
POLICY = ScalePolicy("s", max=50, rules=(RuleSpec("reserve", {"target": 10.0, "k": 0.0}),))


def decision(total=30.1, previous=3, now=UNIX, policy=POLICY, **more):
    load = {"in_flight": Observed(total, total, total, total / 3, 3, 0)}
    more = {"rate_base_out": previous, "rate_base_in": previous} | more
    return decide(
        policy,
        Inputs(
            now=now, ready=previous, starting=0, draining=0, previous=previous, signals=load, **more
        ),
    )  # fmt: skip


class TestText:
    def test_a_record_holds_all_and_gives_it_back(self):
        made = decision(
            total=0.1 + 0.2,
            curve=SpeedCurve(1 / 3, 0.1, 4.0),
            manual=Manual(min=1, expires_at=UNIX + 0.1, reason='a "reason" in ünicode'),
            forecast={"in_flight": 1e-300},
        )
        text = to_json(made)

        assert from_json(text) == made
        assert to_json(from_json(text)) == text
        assert replay(text) == made

    def test_it_is_canonical(self):
        raw = json.loads(to_json(decision()))
        assert list(raw) == sorted(raw)
        assert raw["schema"] == 1
        assert raw["inputs"]["signals"]["in_flight"]["stable"] == 30.1

    def test_a_policy_alone(self):
        assert policy_from_json(policy_to_json(POLICY)) == POLICY

    def test_a_record_of_a_version_with_fewer_fields_has_their_defaults(self):
        raw = json.loads(to_json(decision()))
        del raw["inputs"]["slots"], raw["policy"]["vertical"]
        assert from_json(json.dumps(raw)) == decision()

    @pytest.mark.parametrize(
        "change",
        [
            lambda raw: raw.pop("target"),
            lambda raw: raw.update(target="3"),
            lambda raw: raw.update(schema=2),
            lambda raw: raw.update(colour="red"),
            lambda raw: raw["policy"].update(mode="hasty"),
            lambda raw: raw["inputs"].update(signals=3),
            lambda raw: raw["inputs"].update(ready=True),
        ],
    )
    def test_what_is_no_record_is_refused(self, change):
        raw = json.loads(to_json(decision()))
        change(raw)
        with pytest.raises(InvalidInputError):
            from_json(json.dumps(raw))

    @pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"schema": NaN}'])
    def test_rubbish_is_refused(self, text):
        with pytest.raises(InvalidInputError):
            from_json(text)


class TestPreview:
    def history(self):
        """Return a load of 30 for 10 min, of 60 for 10, of 10 for 20, recorded once a minute."""
        found, previous = [], 3
        for minute in range(40):
            total = 30.0 if minute < 10 else 60.0 if minute < 20 else 10.0
            made = decision(total, previous, UNIX + 60 * minute)
            found.append(made)
            previous = made.target
        return found

    def test_the_recorded_policy_again_differs_only_by_the_memory_of_before(self):
        found = preview(POLICY, self.history())
        assert found.covered_s == 39 * 60
        assert found.points[0].recorded == found.points[0].preview == 3

    def test_a_policy_with_more_spare_costs_more(self):
        rich = ScalePolicy("s", max=50, rules=(RuleSpec("reserve", {"target": 10.0, "k": 2.0}),))
        found = preview(rich, self.history())
        assert found.preview_node_s > found.recorded_node_s
        assert [(p.recorded, p.preview) for p in found.points][:2] == [(3, 5), (6, 8)]
        assert all(p.reason for p in found.points)

    def test_no_record_is_no_preview(self):
        found = preview(POLICY, [])
        assert (found.points, found.covered_s) == ((), 0.0)


class TestReversals:
    @pytest.mark.parametrize(
        ("targets", "count"),
        [
            ([], 0),
            ([(0, 3), (10, 5), (20, 5), (30, 7)], 0),
            ([(0, 3), (10, 5), (20, 3)], 1),
            ([(0, 3), (10, 5), (20, 3), (30, 5)], 2),
            ([(0, 3), (10, 5), (610, 3)], 1),
            ([(0, 3), (10, 5), (611, 3)], 0),
            ([(0, 3), (10, 5), (400, 6), (1000, 5)], 1),
        ],
    )
    def test_turning_round_within_ten_minutes_counts(self, targets, count):
        assert reversals(targets) == count
