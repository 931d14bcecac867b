"""What is wanted of one service's scaling and outlives a controller; with its etag and its JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlb import params, scale_settings
from meshlb.checks import MOST_TIME_S, NAME
from meshlb.scale_model import Manual, Pause, ScalePolicy


@dataclass(frozen=True, slots=True)
class Intent:
    """One service's intent, as stored."""

    policy: ScalePolicy | None = None
    """Stored by PutScalePolicy; None: the configuration's holds."""
    manual: Manual | None = None
    pause: Pause = field(default_factory=Pause)
    revision: int = 0
    """Grows by one a change."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What the controller itself has come to, and what a restarted one begins with."""

    target: int | None = None
    start_ups_s: tuple[float, ...] = ()
    """Start-up times measured, oldest first."""
    ready: int = 0
    """Nodes that served at the last record."""


@dataclass(frozen=True, slots=True)
class Drain:
    """An order to withdraw one node."""

    service: str
    node_id: str
    reason: str
    by_scaling: bool
    """Given by the controller itself, not by an operator."""


def etag(intent: Intent, policy: ScalePolicy | None) -> str:
    """Return what changes with every change of the intent or of the policy in effect."""
    parts = [
        intent.revision,
        None if policy is None else scale_settings.policy_table(policy),
        None if intent.manual is None else dataclasses.asdict(intent.manual),
        dataclasses.asdict(intent.pause),
    ]
    return hashlib.sha256(_json(parts).encode()).hexdigest()[:16]


def to_json(intent: Intent) -> str:
    """Return an intent as canonical JSON."""
    return _json(
        {
            "policy": None if intent.policy is None else scale_settings.policy_table(intent.policy),
            "manual": None if intent.manual is None else dataclasses.asdict(intent.manual),
            "pause": dataclasses.asdict(intent.pause),
            "revision": intent.revision,
        }
    )


def from_json(service: str, text: str) -> tuple[Intent, str]:
    """Return an intent, and what is wrong with its policy, such as a rule that is gone: "" if fine.

    A policy that is not understood is left out. Raises ValueError, KeyError or TypeError for a text
    that was not written by ``to_json``.
    """
    _check_name(service)
    raw: Mapping[str, Any] = json.loads(text)
    problem, policy = "", None
    if raw["policy"] is not None:
        faults: list[str] = []
        table = _table(raw["policy"], "policy")
        policy = scale_settings.read_policy(service, table, "stored policy", faults)
        problem = "; ".join(faults)
    manual: Manual | None = None
    if raw["manual"] is not None:
        manual = _built(Manual, raw["manual"], "manual")
        _check(("manual", value) for value in (manual.count, manual.min, manual.max))
        if not 0 <= (manual.expires_at or 0.0) <= MOST_TIME_S:
            raise ValueError(
                f"manual.expires_at = {manual.expires_at}: from 0 to {MOST_TIME_S:.0f}"
            )
    pause: Pause = _built(Pause, raw["pause"], "pause")
    if not isinstance(raw["revision"], int):
        raise TypeError(f"revision = {raw['revision']!r:.140}: a whole number")
    return Intent(policy, manual, pause, raw["revision"]), problem


def learned(service: Any, target: Any, start_ups: Any, ready: Any) -> Learned:
    """Return what was stored of it. Raises ValueError or TypeError for what no controller wrote."""
    _check_name(service)
    raw = {"target": target, "start_ups_s": json.loads(start_ups), "ready": ready}
    made: Learned = _built(Learned, raw, "learned")
    _check((("target", made.target), ("ready", min(made.ready, scale_settings.MOST_NODES))))
    return made


def drain(service: Any, node_id: Any, reason: Any, by_scaling: Any) -> Drain:
    """Return a stored order, as ``learned`` does."""
    _check_name(service)
    return Drain(service, str(node_id), str(reason), bool(by_scaling))


def _check_name(service: Any) -> None:
    if not NAME.match(service):
        raise ValueError(f"service = {service!r:.140}: the name of a service")


def _check(counts: Iterable[tuple[str, int | None]]) -> None:
    for name, value in counts:
        if value is not None and not 0 <= value <= scale_settings.MOST_NODES:
            raise ValueError(f"{name} = {value}: from 0 to {scale_settings.MOST_NODES}")


def _table(raw: Any, at: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise TypeError(f"{at} = {raw!r:.140}: an object")
    return raw


def _built(kind: type, raw: Any, at: str) -> Any:
    faults: list[str] = []
    made = params.build(kind, _table(raw, at), at, faults)
    if made is None:
        raise ValueError("; ".join(faults))
    return made


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
