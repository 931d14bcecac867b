"""Show, set and explain how many nodes services have.

exit codes: 0 done, 1 failed or no controller there, 2 called wrongly, 3 refused as things stand
(such as a stale etag). docs/scaling.md tells what the words mean.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from meshlb.cli import (
    _ask,
    _scale_change,
    _scale_explain,
    _scale_policy,
    _scale_text,
    _scale_watch,
)
from meshlb.v1 import scale_pb2


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands, each with its arguments."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    get = commands.add_parser("get", help="targets of all services, or all about one")
    get.add_argument("service", metavar="SERVICE", nargs="?", default="")
    _ask.arguments(get)
    get.set_defaults(what=_get)

    one = commands.add_parser("set", help="set a count or bounds by hand, or end that")
    _scale_change.set_arguments(one)
    one.set_defaults(what=_scale_change.run_set)

    policy = commands.add_parser("policy", help="show or store the policy of a service")
    _scale_policy.policy_arguments(policy)
    policy.set_defaults(what=_scale_policy.run_policy)

    for name, told, what in (
        ("pause", "keep the target from growing, shrinking or both", _scale_change.run_pause),
        ("resume", "end a pause", _scale_change.run_resume),
    ):
        held = commands.add_parser(name, help=told)
        held.add_argument("service", metavar="SERVICE")
        held.add_argument(
            "way", metavar="out|in|both", nargs="?", choices=("out", "in", "both"), default="both",
            help="default both",
        )  # fmt: skip
        if name == "pause":
            _scale_change.change_arguments(held)
        else:
            _scale_change.guard_arguments(held)
        _ask.arguments(held)
        held.set_defaults(what=what)

    explain = commands.add_parser("explain", help="say why a service has the target that it has")
    _scale_explain.arguments(explain)
    explain.set_defaults(what=_scale_explain.run)

    watch = commands.add_parser("watch", help="print a line at each change")
    _scale_watch.arguments(watch)
    watch.set_defaults(what=_scale_watch.run)

    preview = commands.add_parser("preview", help="try a policy on the recorded past")
    _scale_policy.preview_arguments(preview)
    preview.set_defaults(what=_scale_policy.run_preview)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand."""
    code: int = args.what(args)
    return code


def _get(args: argparse.Namespace) -> int:
    if args.service:
        one = scale_pb2.GetScaleRequest(service=args.service)
        found = _ask.ask_scale(_ask.place(args), lambda s: s.GetScale(one, timeout=_ask.LIMIT_S))
        print(
            _ask.as_json(found.scale)
            if args.json
            else _scale_text.full(found.scale, datetime.now(UTC))
        )
        return 0
    asked = scale_pb2.ListScalesRequest()
    listed = _ask.ask_scale(_ask.place(args), lambda s: s.ListScales(asked, timeout=_ask.LIMIT_S))
    if args.json:
        print(_ask.as_json(listed))
    elif listed.scales:
        print(_scale_text.all_of(list(listed.scales)))
    else:
        print("no services yet: no sidecar or client has come, and none is configured")
    return 0
