"""The demo: ``./scripts/demo``, or ``python -m examples.demo`` where everything is installed."""

from __future__ import annotations

import asyncio
import os
import sys

from meshlb.errors import MeshlbError, MissingExtraError

INTERRUPTED = 130


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
    """Read the command line and run."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # a killed server is no news here
    from examples.demo.options import parse

    options = parse()
    try:
        from examples.demo.acts import play
    except ImportError as missing:
        if missing.name != "rich":
            raise
        raise MissingExtraError("the demo needs rich: pip install 'meshlb[demo]'") from missing
    return play(options)


if __name__ == "__main__":
    sys.exit(main())
