"""The demo: ``./scripts/demo``, or ``python -m examples.demo`` where everything is installed."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import ExitStack

from meshlb.errors import MeshlbError, MissingExtraError

INTERRUPTED = 130
LINE_WIDTH = 120
"""Of the summary in a file or a pipe."""


def main() -> int:
    """Run; 0 if no call failed under meshlb, 1 if one did, 2 for bad arguments."""
    try:
        return demo()
    except MeshlbError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("demo: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the lines has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED


def demo() -> int:
    """Read the command line, run, print the summary."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # a killed server is no news here
    from examples.demo.options import parse

    options = parse()
    try:
        from rich.console import Console
    except ImportError as missing:
        raise MissingExtraError("the demo needs rich: pip install 'meshlb[demo]'") from missing
    from examples.demo import screen
    from examples.demo.run import run, write_json
    from examples.demo.show import Live, Plain

    console = Console()
    if not console.is_terminal:
        console = Console(width=LINE_WIDTH)
    plain = options.plain or not console.is_terminal
    with ExitStack() as stack:
        show = Plain(print) if plain else stack.enter_context(Live(console, options.svg))
        state = asyncio.run(run(options, os.cpu_count() or 1, show.say, show))
    console.print(screen.summary(state, console.width))
    if options.json:
        write_json(state, options.json)
    return 1 if state.fleets["meshlb"].tally.total().failed else 0


if __name__ == "__main__":
    sys.exit(main())
