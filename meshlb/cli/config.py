"""Check a meshlb.toml, or show what is in effect.

meshlb config check FILE   says "ok", or every fault with key, value and allowed range (exit 2)
meshlb config show [FILE]  prints all settings as a file that loads back
"""

from __future__ import annotations

import argparse

from meshlb import settings


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    what = parser.add_subparsers(metavar="check|show", required=True)
    check = what.add_parser("check", help="say whether a file is right")
    check.add_argument("file", metavar="FILE")
    check.set_defaults(what="check")
    show = what.add_parser("show", help="print what is in effect")
    show.add_argument("file", metavar="FILE", nargs="?")
    show.set_defaults(what="show")


def run(args: argparse.Namespace) -> int:
    """Read the file; print it or ok."""
    read = settings.load(args.file) if args.file else settings.Settings()
    print("ok" if args.what == "check" else settings.to_toml(read), end="\n")
    return 0
