"""Sorts channel options into ours and gRPC's, and reads the service config.

Ours: ``meshlb.picker`` (name), ``meshlb.picker_params`` (dict), ``meshlb.zone`` (text),
``meshlb.resume`` ({method: hook}), ``meshlb.priority`` (text), ``meshlb.controller_credentials``
(``meshlb.tls``, gRPC's or None). The service config is read by ``service_config``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from meshlb import plugins
from meshlb.client import service_config
from meshlb.client.retry import RetryPolicy
from meshlb.client.service_config import Hedging, MethodRules
from meshlb.client.view import PICKERS
from meshlb.errors import InvalidInputError
from meshlb.security.client_tls import Credentials

Resume = Callable[[Any, Sequence[Any]], Any]
T = TypeVar("T")
UNSET: Any = object()

# A node that refuses is tried again soon: it is asked for only while it is down.
_NODE_DEFAULTS = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 2000,
    "grpc.max_reconnect_backoff_ms": 2000,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a channel was asked to be."""

    picker: str | None = None
    picker_params: Any = None
    zone: str = ""
    priority: str = "default"
    """Class of calls that name none."""
    resume: Mapping[str, Resume] = field(default_factory=dict)
    controller_credentials: Any = UNSET
    """UNSET: those of the nodes; None: plain text."""
    rules: MethodRules = field(default_factory=MethodRules)
    """What the service config says of methods."""
    node_options: tuple[tuple[str, Any], ...] = ()
    """For the channels to nodes."""

    def policy(self, method: str) -> RetryPolicy | None:
        """Return a method's policy, most exact entry first; None: the config is silent."""
        return _most_exact(self.rules.policies, method)

    def waits(self, method: str) -> bool:
        """Return whether a method's calls wait for ready unless they say otherwise."""
        return bool(_most_exact(self.rules.waiting, method))

    def hedging_of(self, method: str) -> Hedging | None:
        """Return how a method is hedged; None: it is not."""
        return _most_exact(self.rules.hedging, method)

    def timeout_s(self, method: str) -> float | None:
        """Return the most time that a method's calls may take; None: no limit."""
        return _most_exact(self.rules.timeouts, method)

    def attempt_s(self, method: str) -> float | None:
        """Return how long an attempt may wait for its first message; 0: any time; None: unsaid."""
        return _most_exact(self.rules.attempts, method)

    def idle_s(self, method: str) -> float | None:
        """Return how long a stream that can be resumed may wait for its next message."""
        return _most_exact(self.rules.idle, method)


def _most_exact(entries: Mapping[str, T], method: str) -> T | None:
    for key in (method, method[: method.rfind("/") + 1], ""):
        if key in entries:
            return entries[key]
    return None


def parse(options: Sequence[tuple[str, Any]] | None) -> Options:
    """Return the options sorted; InvalidInputError names every one of ours that is wrong."""
    faults: list[str] = []
    ours: dict[str, Any] = {}
    rest: dict[str, Any] = dict(_NODE_DEFAULTS)
    for key, value in _pairs(options):
        if key.startswith("meshlb."):
            _take(key.removeprefix("meshlb."), value, ours, faults)
        else:
            rest[key] = value
    rules = MethodRules()
    if "grpc.service_config" in rest:
        rules, left = service_config.read(rest["grpc.service_config"], faults)
        rest["grpc.service_config"] = left
    _build_params(ours, faults)
    if faults:
        raise InvalidInputError(faults, reason="INVALID_OPTION")
    return Options(
        rules=rules,
        node_options=tuple(rest.items()),
        **ours,
    )


def _pairs(options: Any) -> list[tuple[str, Any]]:
    """Return the options as pairs of name and value, or say which is none."""
    given = () if options is None else options
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidInputError(
            f"options = {given!r}: a sequence of (name, value) pairs", reason="INVALID_OPTION"
        )
    pairs = list(given)
    faults = [
        f"options: {pair!r}: a pair of a name and a value"
        for pair in pairs
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str))
    ]
    if faults:
        raise InvalidInputError(faults, reason="INVALID_OPTION")
    return [(key, value) for key, value in pairs]


def _take(key: str, value: Any, ours: dict[str, Any], faults: list[str]) -> None:
    allowed = {
        "picker": ("the name of a picker", isinstance(value, str)),
        "picker_params": ("a dict", isinstance(value, Mapping)),
        "zone": ("a text", isinstance(value, str)),
        "priority": ("the name of a class of calls", isinstance(value, str) and bool(value)),
        "resume": (
            'a dict of "/pkg.Service/Method" to a function of (request, received)',
            isinstance(value, Mapping)
            and all(str(k).startswith("/") and callable(v) for k, v in value.items()),
        ),
        "controller_credentials": (
            "meshlb.tls, grpc.ChannelCredentials or None",
            value is None or isinstance(value, Credentials),
        ),
    }
    if key not in allowed:
        known = ", ".join(f"meshlb.{one}" for one in sorted(allowed))
        faults.append(f"option meshlb.{key} = {value!r}: not an option; known: {known}")
    elif not allowed[key][1]:
        faults.append(f"option meshlb.{key} = {value!r}: {allowed[key][0]}")
    elif key == "picker":
        try:
            plugins.load(PICKERS, value)
            ours[key] = value
        except InvalidInputError as error:
            faults.append(f"option meshlb.{error.faults[0]}")
    else:
        ours[key] = value


def _build_params(ours: dict[str, Any], faults: list[str]) -> None:
    if "picker_params" not in ours:
        return
    if "picker" not in ours:
        faults.append("option meshlb.picker_params: only together with meshlb.picker")
        return
    try:
        ours["picker_params"] = plugins.load(PICKERS, ours["picker"]).Params(
            **ours["picker_params"]
        )
    except (TypeError, ValueError) as error:
        faults.append(f"option meshlb.picker_params = {ours['picker_params']!r}: {error}")
