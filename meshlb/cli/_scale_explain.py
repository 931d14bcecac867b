"""``meshlb scale explain``: one recorded decision, so that a person on call understands it at once.

From top to bottom: what and since when, why, the load, what each rule wanted, each step from there
to the target, what holds it, and when it may change next.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from meshlb.cli import _ask, _explain_text, _scale_text, _text, _times
from meshlb.errors import UnavailableError
from meshlb.v1 import scale_pb2, scale_pb2_grpc

LOOK_BACK = 200
"""Changes looked through for the one that made the target: pauses, panics and the like are some."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of ``scale explain``."""
    parser.add_argument("service", metavar="SERVICE")
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--at", metavar="TIME", help='as it was then: "14:03", "10m ago", ISO; default now'
    )
    when.add_argument(
        "--since", metavar="TIME", help="list all changes since then instead: as --at, or 1h, 2d"
    )
    _ask.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print a decision, or the changes since a time."""
    now = datetime.now(UTC)
    if args.since is not None:
        return _changes(args, now)
    at = None if args.at is None else _times.instant(args.at, "--at", now)
    request = scale_pb2.ListScaleDecisionsRequest(service=args.service, limit=1)
    if at is not None:
        request.until_time.CopyFrom(_times.stamp(at))

    def look(stub: scale_pb2_grpc.ScaleServiceStub) -> _Found:
        scale = None
        if at is None:
            asked = scale_pb2.GetScaleRequest(service=args.service)
            scale = stub.GetScale(asked, timeout=_ask.LIMIT_S).scale
        if scale is not None and scale.HasField("decision"):
            decision = scale.decision
        else:
            listed = stub.ListScaleDecisions(request, timeout=_ask.LIMIT_S).decisions
            if not listed:
                return None
            decision = listed[0]
        asked_change = scale_pb2.ListScaleDecisionsRequest(
            service=args.service, limit=LOOK_BACK, changes_only=True,
            until_time=decision.decide_time,
        )  # fmt: skip
        changes = stub.ListScaleDecisions(asked_change, timeout=_ask.LIMIT_S).decisions
        moved = (one for one in changes if one.previous_count != one.target_count)
        if decision.previous_count != decision.target_count:
            return decision, decision, scale
        return decision, next(moved, None), scale

    found = _ask.ask_scale(_ask.place(args), look)
    if found is None:
        when = "yet" if at is None else f"at or before {_times.clock(at, now)}"
        raise UnavailableError(f"service = {args.service!r}: no decision is recorded {when}")
    decision, change, scale = found
    if args.json:
        print(_ask.as_json(decision))
        return 0
    told = _explain_text.explain(
        decision, record_of(decision), change=change, scale=scale, at=at or now,
        columns=_text.width(),
    )  # fmt: skip
    first, _, rest = told.partition("\n")
    print(f"{_text.bold(first)}\n{rest}")
    return 0


_Found = (
    tuple[scale_pb2.ScaleDecision, scale_pb2.ScaleDecision | None, scale_pb2.ScaleStatus | None]
    | None
)


def record_of(decision: scale_pb2.ScaleDecision) -> dict[str, Any]:
    """Return the whole record of a decision; an empty one if it has none."""
    try:
        record = json.loads(decision.record_json or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _changes(args: argparse.Namespace, now: datetime) -> int:
    since = _times.past(args.since, "--since", now)
    request = scale_pb2.ListScaleDecisionsRequest(
        service=args.service, since_time=_times.stamp(since), limit=10_000, changes_only=True
    )
    answer = _ask.ask_scale(
        _ask.place(args), lambda s: s.ListScaleDecisions(request, timeout=_ask.LIMIT_S)
    )
    if args.json:
        print(_ask.as_json(answer))
        return 0
    rows = [
        (
            _times.clock(_times.local(one.decide_time), now),
            f"{one.previous_count} -> {one.target_count}"
            if one.previous_count != one.target_count
            else f"{one.target_count}",
            _scale_text.why(one),
        )
        for one in reversed(answer.decisions)
    ]
    if rows:
        print(_ask.table(("TIME", "NODES", "WHY"), rows, _text.cut()))
    else:
        print(f"{args.service}: no change since {_times.clock(since, now)}")
    return 0
