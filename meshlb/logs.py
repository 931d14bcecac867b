"""The one set-up of structlog: readable on a terminal, JSON otherwise, on standard error."""

from __future__ import annotations

import logging
import sys

import structlog

from meshlb.errors import InvalidInputError

LEVELS = ("debug", "info", "warning", "error")


class _StandardError:
    """Whatever ``sys.stderr`` is when a line is written: it may be replaced, as tests do."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(level: str = "info") -> None:
    """Set up structlog for this process; call once, from a program's main, never at import.

    Raises InvalidInputError for a level that is none of ``LEVELS``.
    """
    if level not in LEVELS:
        raise InvalidInputError(f"log level = {level!r}: one of {', '.join(LEVELS)}")
    shape: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *shape,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
