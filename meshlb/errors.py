"""The error tree: the class says whose fault it is, and whether trying again can help.

Each carries ``reason``, an UPPER_SNAKE word for programs, and a text for people that names the
field, the value and what is allowed. At a gRPC edge the reason leads the status message and rides
in the trailing metadata key ``meshlb-reason``.
"""

from __future__ import annotations

from collections.abc import Sequence

REASON_KEY = "meshlb-reason"


class MeshlbError(Exception):
    """Root of all that meshlb raises itself. Do not raise it directly."""

    reason = "INTERNAL"

    def __init__(self, text: str, *, reason: str | None = None) -> None:
        super().__init__(text)
        if reason is not None:
            self.reason = reason


class InvalidInputError(MeshlbError, ValueError):
    """The caller or peer sent something that cannot be right; the same again fails the same way.

    ``faults`` holds one "FIELD = VALUE: allowed range" line a fault, all found at once.
    """

    reason = "INVALID_INPUT"

    def __init__(self, faults: list[str] | str, *, reason: str | None = None) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("; ".join(self.faults), reason=reason)


class ConflictError(MeshlbError):
    """Right in itself, but something else holds what it claims; may succeed later."""

    reason = "CONFLICT"


class NotFoundError(MeshlbError):
    """What it names is not there; the text says what is."""

    reason = "NOT_FOUND"


class UnknownServiceError(NotFoundError):
    """There is no such service. ``known``: those that may be told of."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        text = f"service = {name[:140]!r}: one of {list(known[:20])}"
        super().__init__(text, reason="UNKNOWN_SERVICE")
        self.name = name
        self.known = known


class DeniedError(MeshlbError):
    """Who asks may not do so, or has not said who it is; the text says what to do.

    Reason UNAUTHENTICATED or NOT_ALLOWED.
    """

    reason = "NOT_ALLOWED"


class LimitError(MeshlbError):
    """More than a limit allows; the text names the limit and its setting."""

    reason = "LIMIT_REACHED"


class UnavailableError(MeshlbError):
    """A peer is not there; trying again may help."""

    reason = "UNAVAILABLE"


class StateError(MeshlbError):
    """The state file cannot be written or read now; nothing has changed, the last state goes on.

    Reason STATE_FULL: there is no room; STATE_UNWRITABLE: anything else.
    """

    reason = "STATE_UNWRITABLE"


class MissingExtraError(MeshlbError, ImportError):
    """An optional dependency is not installed; the text says which extra to install."""

    reason = "MISSING_EXTRA"
