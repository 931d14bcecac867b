"""``meshlb scale policy`` and ``preview``: show one, store one, try one on the recorded past."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from meshlb.cli import _ask, _policy_file, _scale_change, _scale_text, _text, _times
from meshlb.errors import InvalidInputError
from meshlb.v1 import scale_pb2
from meshlb.wire_time import duration, seconds

ROWS = 20


def policy_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of ``scale policy``."""
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument(
        "--put", metavar="FILE", help="store this one: TOML, the keys of [service.NAME.scale]"
    )
    _scale_change.guard_arguments(parser)
    _ask.arguments(parser)


def run_policy(args: argparse.Namespace) -> int:
    """Show the policy in effect, or store one and show what is in effect then."""
    if args.put is None:
        if args.etag or args.request_id:
            raise InvalidInputError("--etag, --request-id: only together with --put FILE")
        asked = scale_pb2.GetScalePolicyRequest(service=args.service)
        found = _ask.ask_scale(
            _ask.place(args), lambda s: s.GetScalePolicy(asked, timeout=_ask.LIMIT_S)
        )
        if args.json:
            print(_ask.as_json(found))
        elif found.HasField("policy"):
            print(f"# from: {found.source}, etag: {found.etag}\n{_policy_file.show(found.policy)}")
        else:
            print(f"# {args.service} has no policy, etag: {found.etag}")
        return 0
    put = scale_pb2.PutScalePolicyRequest(
        policy=_policy_file.read(args.put, args.service),
        request_id=_scale_change.request_id(args),
        etag=args.etag,
    )
    with _policy_file.keys_in_faults():
        stored = _scale_change.changed(
            args, put.request_id, lambda s: s.PutScalePolicy(put, timeout=_ask.LIMIT_S)
        )
    if args.json:
        print(_ask.as_json(stored))
    else:
        print(f"# stored, etag: {stored.etag}\n{_policy_file.show(stored.policy)}")
    return 0


def preview_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of ``scale preview``."""
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("--policy", metavar="FILE", required=True, help="as for policy --put")
    parser.add_argument(
        "--since", metavar="SPAN", help="how far back to go, such as 1d; default the whole record"
    )
    parser.add_argument("--all", action="store_true", help=f"all differences, not the last {ROWS}")
    _ask.arguments(parser)


def run_preview(args: argparse.Namespace) -> int:
    """Print the node-seconds of both, and where they differ."""
    since = None if args.since is None else duration(_times.span(args.since, "--since"))
    request = scale_pb2.PreviewScalePolicyRequest(
        policy=_policy_file.read(args.policy, args.service), since=since
    )
    # It computes over the whole record, so that takes longer than other questions.
    with _policy_file.keys_in_faults():
        answer = _ask.ask_scale(
            _ask.place(args), lambda s: s.PreviewScalePolicy(request, timeout=60)
        )
    print(_ask.as_json(answer) if args.json else preview(answer, args.service, all_rows=args.all))
    return 0


def preview(
    answer: scale_pb2.PreviewScalePolicyResponse, service: str, *, all_rows: bool = False
) -> str:
    """Return a preview as text."""
    covered_s = seconds(answer.covered)
    if covered_s <= 0:
        return f"{service}: no decisions recorded yet, so there is nothing to try the policy on"
    now = datetime.now(UTC)
    was, would = answer.recorded_node_seconds, answer.preview_node_seconds
    change = "none"
    if was and abs(would - was) >= 0.0005 * was:
        change = f"{abs(would - was) / was:.1%} {'more' if would > was else 'less'}"
    rows = [
        ("as recorded", f"{was:,.0f}", f"{was / covered_s:.2f}", "-"),
        ("with this policy", f"{would:,.0f}", f"{would / covered_s:.2f}", change),
    ]
    head = ("OVER " + _times.length(covered_s), "NODE-SECONDS", "MEAN NODES", "CHANGE")
    parts = [f"{_text.bold(service)}\n{_ask.table(head, rows)}"]
    differ = [p for p in answer.points if p.recorded_count != p.preview_count]
    if not differ:
        parts.append("The targets never differ.")
        return "\n\n".join(parts)
    shown = differ if all_rows else differ[-ROWS:]
    points = [
        (
            _times.clock(_times.local(p.time), now), str(p.recorded_count), str(p.preview_count),
            f"{p.preview_count - p.recorded_count:+d}", _scale_text.why(p),
        )
        for p in shown
    ]  # fmt: skip
    left = len(differ) - len(shown)
    parts.append(
        _ask.table(("FROM", "RECORDED", "PREVIEW", "DIFF", "WHY"), points, _text.cut())
        + (f"\n{left} earlier ones left out; --all shows them" if left else "")
    )
    return "\n\n".join(parts)
