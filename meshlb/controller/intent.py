"""What is wanted of one service's scaling and outlives a controller; with its etag and its JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meshlb import scale_settings
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
    raw: Mapping[str, Any] = json.loads(text)
    problem, policy = "", None
    if raw["policy"] is not None:
        faults: list[str] = []
        policy = scale_settings.read_policy(service, raw["policy"], "stored policy", faults)
        problem = "; ".join(faults)
    manual = None if raw["manual"] is None else Manual(**raw["manual"])
    return Intent(policy, manual, Pause(**raw["pause"]), int(raw["revision"])), problem


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
