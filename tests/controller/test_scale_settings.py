"""Policies and actuators in meshlb.toml: what is right reads back, all that is wrong is told."""

import pytest

from meshlb import params, scale_settings, scale_wire, settings
from meshlb.errors import InvalidInputError
from meshlb.scale_model import Mode, RuleSpec, ScalePolicy, Vertical

TOML = """
[service.llama.scale]
min = 0
max = 8
mode = "observe"
vertical = "apply"
drain_limit_s = 90
scale_in_step = 2
[[service.llama.scale.rules]]
kind = "reserve"
signal = "in_flight"
target = 16
k = "auto"
[[service.llama.scale.rules]]
kind = "schedule"
name = "office \\"hours\\""
params = { windows = [{ days = ["mon"], start = "08:00", end = "18:00", min = 4 }] }
[service.llama.actuator]
kind = "process"
command = ["python", "-m", "examples.modelserver", "--listen", "{address}"]
slots = 16
"""


def read(text, tmp_path):
    path = tmp_path / "meshlb.toml"
    path.write_text(text)
    return settings.load(path)


def test_a_policy_and_an_actuator_are_read_and_shown_so_that_they_read_back(tmp_path):
    found = read(TOML, tmp_path)

    policy = found.policies["llama"]
    assert (policy.min, policy.max, policy.mode) == (0, 8, Mode.OBSERVE)
    assert (policy.vertical, policy.drain_limit_s) == (Vertical.APPLY, 90.0)
    assert policy.rules[0] == RuleSpec(
        "reserve", {"signal": "in_flight", "target": 16.0, "k": "auto"}
    )
    assert policy.rules[1].name == 'office "hours"'
    assert policy.rules[1].params["windows"][0]["min"] == 4
    assert found.actuators["llama"].built().slots == 16
    assert read(settings.to_toml(found), tmp_path) == found


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(InvalidInputError) as caught:
        settings.parse(
            {
                "service": {
                    "a": {
                        "scale": {
                            "min": -1,
                            "max": True,
                            "tolerance": 3,
                            "colour": 1,
                            "rules": [{"kind": "magic"}, 7, {"kind": "group", "signal": "karma"}],
                        }
                    },
                    "b": {"scale": {"min": 5, "max": 4, "panic_window_s": 90}},
                    "c": {"scale": 7, "actuator": {"kind": "magic"}},
                    "d": {"actuator": {"kind": "process", "slots": "many", "colour": 1}},
                    "e": {"scale": {"rules": []}, "actuator": {}},
                }
            }
        )

    told = "\n".join(caught.value.faults)
    for fault in (
        "service.a.scale.min = -1: a whole number from 0 to 10000",
        "service.a.scale.max = True: a whole number from 1 to 10000",
        "service.a.scale.tolerance = 3: from 0 to 0.5",
        "service.a.scale.colour = 1: not a key; known: consolidation_limit",
        "service.a.scale.rules[0].kind = 'magic': one of ",
        "service.a.scale.rules[1] = 7: a table with a kind",
        "service.a.scale.rules[2].signal = 'karma': one of in_flight",
        "service.b.scale.min = 5: at most service.b.scale.max, 4",
        "service.b.scale.panic_window_s = 90 s: at most service.b.scale.stable_window_s, 60 s",
        "service.c.scale = 7: a table",
        "service.c.actuator.kind = 'magic': one of ",
        "service.d.actuator.slots = 'many': a whole number",
        "service.d.actuator.colour = 1: not a parameter; known: ",
        "service.e.scale.rules = []: a list of 1 to 32 rules",
        "service.e.actuator.kind = None: one of ",
    ):
        assert fault in told


def test_schedules_that_contradict_each_other_are_refused():
    window = {"start": "08:00", "end": "18:00"}
    rule = {"kind": "schedule", "windows": [window | {"min": 5}, window | {"max": 3}]}

    with pytest.raises(InvalidInputError, match=r"rules\[0\].windows"):
        scale_settings.parse_policy("s", {"rules": [rule]}, "policy")


@pytest.mark.parametrize(
    "policy",
    [
        ScalePolicy("s"),
        ScalePolicy(
            "s",
            mode=Mode.OBSERVE,
            min=0,
            max=10_000,
            rules=(RuleSpec("group", {"target": 2.5}, "mine"), RuleSpec("latency")),
            scale_in_step=3,
            drain_limit_s=0.5,
            scale_out_window_s=12.25,
            vertical=Vertical.OFF,
        ),
    ],
)
def test_a_policy_is_the_same_after_the_wire_and_after_a_table(policy):
    assert scale_wire.policy_from_pb(scale_wire.policy_to_pb(policy)) == policy
    assert scale_settings.parse_policy("s", scale_settings.policy_table(policy), "p") == policy


@pytest.mark.parametrize(
    ("value", "hint", "fitted"),
    [
        (16.0, int, 16),
        (16, float, 16.0),
        ([1, 2.0], tuple[float, ...], (1.0, 2.0)),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ("auto", float | str, "auto"),
        (None, int | None, None),
    ],
)
def test_values_that_fit(value, hint, fitted):
    assert params.fit(value, hint) == (True, fitted)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (True, int),
        (1.5, int),
        (float("nan"), float),
        ("1", float),
        ("ab", tuple[str, ...]),
        ([1], tuple[int, int]),
        ([1], dict[str, int]),
        (None, int),
    ],
)
def test_values_that_do_not_fit(value, hint):
    assert params.fit(value, hint)[0] is False
