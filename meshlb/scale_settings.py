"""Scale policies and actuators as a configuration says them: read and checked in one place.

``[service.NAME.scale]`` with ``[[service.NAME.scale.rules]]``, and ``[service.NAME.actuator]``.
``scale_wire`` brings policies that come over gRPC through here too, so that both are held to the
same ranges. All faults are told at once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from meshlb import params, plugins
from meshlb.errors import InvalidInputError
from meshlb.scale_model import SIGNALS, Mode, RuleSpec, ScalePolicy, Vertical

RULES = "meshlb.policy.rules"
ACTUATORS = "meshlb.actuators"
MAX_RULES = 32
MOST_NODES = 10_000
HOUR_S, DAY_S = 3600.0, 86_400.0

RANGES: Mapping[str, tuple[float, float]] = {
    "min": (0, MOST_NODES),
    "max": (1, MOST_NODES),
    "stable_window_s": (1, HOUR_S),
    "panic_window_s": (0.5, HOUR_S),
    "panic_threshold": (1, 100),
    "scale_in_window_s": (0, DAY_S),
    "scale_out_window_s": (0, HOUR_S),
    "tolerance": (0, 0.5),
    "scale_out_step": (1, MOST_NODES),
    "scale_in_step": (1, MOST_NODES),
    "rate_period_s": (1, HOUR_S),
    "consolidation_limit": (0.1, 1),
    "start_limit_s": (1, DAY_S),
    "drain_limit_s": (0, 30 * DAY_S),
    "idle_limit_s": (1, DAY_S),
}
WHOLE = ("min", "max", "scale_out_step", "scale_in_step")
CHOICES: Mapping[str, type[enum.Enum]] = {"mode": Mode, "vertical": Vertical}


@dataclass(frozen=True, slots=True)
class ActuatorSpec:
    """Which actuator a service has, and its parameters, checked."""

    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def built(self) -> Any:
        """Return the parameters as the actuator's ``Params``."""
        return params.build(plugins.load(ACTUATORS, self.kind).Params, self.params, self.kind, [])


def parse_policy(
    service: str, raw: Mapping[str, Any], at: str, names: Mapping[str, str] | None = None
) -> ScalePolicy:
    """Return the policy that a table says, defaults filled in.

    ``names`` gives what a field is called where the table came from. Raises InvalidInputError
    with all faults.
    """
    faults: list[str] = []
    policy = read_policy(service, raw, at, faults, names)
    if policy is None:
        raise InvalidInputError(faults, reason="INVALID_POLICY")
    return policy


def read_policy(
    service: str,
    raw: Mapping[str, Any],
    at: str,
    faults: list[str],
    names: Mapping[str, str] | None = None,
) -> ScalePolicy | None:
    """Return the policy that a table says; None, with what is wrong in ``faults``, if it cannot."""
    called = {f.name: (names or {}).get(f.name, f.name) for f in fields(ScalePolicy)}
    before = len(faults)
    values: dict[str, Any] = {"service": service}
    for key, value in raw.items():
        if key == "rules":
            values[key] = _rules(value, f"{at}.rules", faults)
            continue
        if key not in RANGES and key not in CHOICES:
            known = ", ".join(sorted(called.keys() - {"service"}))
            faults.append(f"{at}.{key} = {value!r}: not a key; known: {known}")
            continue
        allowed = _wrong(key, value)
        if allowed:
            faults.append(f"{at}.{called[key]} = {value!r}: {allowed}")
        elif key in CHOICES:
            values[key] = CHOICES[key](value)
        else:
            values[key] = int(value) if key in WHOLE else float(value)
    if len(faults) > before:
        return None
    policy = ScalePolicy(**values)
    if policy.min > policy.max:
        faults.append(
            f"{at}.{called['min']} = {policy.min}: at most {at}.{called['max']}, {policy.max}"
        )
    if policy.panic_window_s > policy.stable_window_s:
        faults.append(
            f"{at}.{called['panic_window_s']} = {policy.panic_window_s:g} s: at most "
            f"{at}.{called['stable_window_s']}, {policy.stable_window_s:g} s"
        )
    return None if len(faults) > before else policy


def policy_table(policy: ScalePolicy) -> dict[str, Any]:
    """Return a policy as the table that reads back to it, every field told."""
    table: dict[str, Any] = {}
    for f in fields(policy):
        value = getattr(policy, f.name)
        if f.name == "rules":
            value = [
                {"kind": rule.kind, "name": rule.name, "params": params.plain(rule.params)}
                for rule in policy.rules
            ]
        elif isinstance(value, enum.Enum):
            value = value.value
        if f.name != "service" and value is not None:
            table[f.name] = value
    return table


def read_actuator(raw: Mapping[str, Any], at: str, faults: list[str]) -> ActuatorSpec | None:
    """Return the actuator that a table says; None, with what is wrong in ``faults``."""
    values = dict(raw)
    kind = values.pop("kind", None)
    known = plugins.names(ACTUATORS)
    if kind not in known:
        faults.append(f"{at}.kind = {kind!r}: one of {', '.join(known)}")
        return None
    made = params.build(plugins.load(ACTUATORS, kind).Params, values, at, faults)
    if made is None:
        return None
    return ActuatorSpec(kind, {key: params.plain(getattr(made, key)) for key in values})


def _wrong(key: str, value: Any) -> str | None:
    """Return what is allowed, if the value is not; None for a good one."""
    if key in CHOICES:
        words = [one.value for one in CHOICES[key]]
        return None if value in words else f"one of {', '.join(words)}"
    least, most = RANGES[key]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = key in WHOLE
    good = number and math.isfinite(value) and least <= value <= most
    if good and (not whole or value == int(value)):
        return None
    unit = " seconds" if key.endswith("_s") else ""
    return f"{'a whole number ' if whole else ''}from {least:g} to {most:g}{unit}"


def _rules(raw: Any, at: str, faults: list[str]) -> tuple[RuleSpec, ...]:
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not 1 <= len(raw) <= MAX_RULES:
        faults.append(f"{at} = {str(raw)[:140]}: a list of 1 to {MAX_RULES} rules")
        return ()
    found: list[RuleSpec] = []
    for index, one in enumerate(raw):
        place = f"{at}[{index}]"
        if not isinstance(one, Mapping):
            faults.append(f"{place} = {str(one)[:140]}: a table with a kind")
            continue
        rule = _rule(one, place, faults)
        if rule is None:
            continue
        named = rule.name or rule.kind
        if any(named == (other.name or other.kind) for other in found):
            faults.append(f"{place}.name = {named!r}: another rule has it; each its own")
        found.append(rule)
    return tuple(found)


def _rule(raw: Mapping[str, Any], at: str, faults: list[str]) -> RuleSpec | None:
    inline = dict(raw)
    kind, name = inline.pop("kind", None), inline.pop("name", "")
    nested = inline.pop("params", {})
    known = plugins.names(RULES)
    if kind not in known:
        faults.append(f"{at}.kind = {kind!r}: one of {', '.join(known)}")
        return None
    if not isinstance(name, str) or len(name) > 128 or not name.isprintable():
        faults.append(f"{at}.name = {str(name)[:140]!r}: a text of at most 128 characters")
        return None
    if not isinstance(nested, Mapping):
        faults.append(f"{at}.params = {str(nested)[:140]}: a table")
        return None
    given = {**nested, **inline}
    signal = given.get("signal")
    if signal is not None and signal not in SIGNALS:
        faults.append(f"{at}.signal = {signal!r}: one of {', '.join(SIGNALS)}")
        return None
    made = params.build(plugins.load(RULES, kind).Params, given, at, faults)
    if made is None:
        return None
    return RuleSpec(kind, {key: params.plain(getattr(made, key)) for key in given}, name)
