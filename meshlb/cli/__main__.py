"""Find the command, run it, and turn errors into one clear line."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import meshlb
from meshlb import cli
from meshlb.errors import ConflictError, DeniedError, InvalidInputError, MeshlbError


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    made = argparse.ArgumentParser(
        prog="meshlb",
        description="Load balancing and scaling for gRPC model servers, nothing in the path.",
        epilog="exit codes: 0 done, 1 failed or no controller there, 2 called wrongly, "
        "3 refused as things stand, or not allowed",
    )
    made.add_argument("--version", action="version", version=f"meshlb {meshlb.__version__}")
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in pkgutil.iter_modules(cli.__path__):
        if module.name.startswith("_"):
            continue
        command = importlib.import_module(f"meshlb.cli.{module.name}")
        about = (command.__doc__ or "").strip()
        one = commands.add_parser(
            module.name,
            help=about.partition("\n")[0].rstrip("."),
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(one)
        one.set_defaults(run=command.run)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    args = parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except InvalidInputError as error:
        for fault in error.faults:
            print(f"meshlb: {fault}", file=sys.stderr)
        return 2
    except (ConflictError, DeniedError) as error:
        print(f"meshlb: {error}", file=sys.stderr)
        return 3
    except MeshlbError as error:
        print(f"meshlb: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        sys.stderr.close()
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
