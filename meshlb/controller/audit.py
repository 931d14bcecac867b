"""One line for each change that somebody ordered: who, what, before, after.

A request that is repeated with the same id changes nothing, and makes no second line.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import structlog

from meshlb import scale_settings
from meshlb.controller.intent import Intent
from meshlb.controller.scaling import Scaling
from meshlb.controller.store import Change
from meshlb.scale_model import ScalePolicy

if TYPE_CHECKING:
    from meshlb.controller.changes import Asked

log = structlog.get_logger()
Withdrawn = dict[tuple[str, str], str | None]


def intent_changed(
    asked: Asked[Any],
    service: str,
    before: tuple[Intent, ScalePolicy | None],
    after: tuple[Intent, ScalePolicy | None],
) -> None:
    """Tell what of one service's scaling became another."""
    was, now = _intent(*before), _intent(*after)
    changed = [key for key in now if now[key] != was[key]]
    _tell(
        asked,
        service=service,
        before={key: was[key] for key in changed},
        after={key: now[key] for key in changed},
    )


def withdrawn(scaling: Scaling, change: Change) -> Withdrawn:
    """Return why the nodes of a change are withdrawn as things stand; None: they are not."""
    keys = [*((d.service, d.node_id) for d in change.drains), *change.undrains]
    drains = scaling.drains
    return {key: drains[key].reason if key in drains else None for key in keys}


def drains_changed(asked: Asked[Any], change: Change, before: Withdrawn) -> None:
    """Tell which nodes are withdrawn, or are no longer."""
    after: Withdrawn = {(d.service, d.node_id): d.reason for d in change.drains}
    after |= dict.fromkeys(change.undrains)
    for (service, node), reason in after.items():
        _tell(
            asked,
            service=service,
            node=node,
            before={"withdrawn": before.get((service, node))},
            after={"withdrawn": reason},
        )


def _tell(asked: Asked[Any], **what: Any) -> None:
    log.info("audit", who=asked.who, call=asked.call, request_id=asked.request_id, **what)


def _intent(intent: Intent, policy: ScalePolicy | None) -> dict[str, Any]:
    return {
        "policy": None if policy is None else scale_settings.policy_table(policy),
        "manual": None if intent.manual is None else dataclasses.asdict(intent.manual),
        "pause": dataclasses.asdict(intent.pause),
    }
