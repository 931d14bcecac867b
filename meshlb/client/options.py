"""Sorts channel options into ours and gRPC's, and reads the service config.

Ours: ``meshlb.picker`` (name), ``meshlb.picker_params`` (dict), ``meshlb.zone`` (text),
``meshlb.resume`` ({method: hook}), ``meshlb.controller_credentials`` (grpc.ChannelCredentials or
None). A method is idempotent if its entry in ``grpc.service_config`` has a ``retryPolicy``, or our
key ``"idempotent": true``. Retries are the stub's, on another node, so nodes' channels get the
config without them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from meshlb import plugins
from meshlb.client.retry import IDEMPOTENT, ONCE, RetryPolicy
from meshlb.client.view import PICKERS
from meshlb.errors import InvalidInputError

Resume = Callable[[Any, Sequence[Any]], Any]
T = TypeVar("T")
UNSET: Any = object()
MAX_ATTEMPTS = 5  # gRFC A6

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
    resume: Mapping[str, Resume] = field(default_factory=dict)
    controller_credentials: Any = UNSET
    """UNSET: those of the nodes; None: plain text."""
    policies: Mapping[str, RetryPolicy] = field(default_factory=dict)
    """By "/pkg.Service/Method", "/pkg.Service/" or "" (all)."""
    waiting: Mapping[str, bool] = field(default_factory=dict)
    """``waitForReady`` of the service config, by the same keys."""
    timeouts: Mapping[str, float] = field(default_factory=dict)
    """``timeout`` of the service config, by the same keys."""
    node_options: tuple[tuple[str, Any], ...] = ()
    """For the channels to nodes."""

    def policy(self, method: str) -> RetryPolicy | None:
        """Return a method's policy, most exact entry first; None: the config is silent."""
        return _most_exact(self.policies, method)

    def waits(self, method: str) -> bool:
        """Return whether a method's calls wait for ready unless they say otherwise."""
        return bool(_most_exact(self.waiting, method))

    def timeout_s(self, method: str) -> float | None:
        """Return the most time that a method's calls may take; None: no limit."""
        return _most_exact(self.timeouts, method)


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
    policies: dict[str, RetryPolicy] = {}
    waiting: dict[str, bool] = {}
    timeouts: dict[str, float] = {}
    if "grpc.service_config" in rest:
        text = rest["grpc.service_config"]
        rest["grpc.service_config"] = _service_config(text, policies, waiting, timeouts, faults)
    _build_params(ours, faults)
    if faults:
        raise InvalidInputError(faults, reason="INVALID_OPTION")
    return Options(
        policies=policies,
        waiting=waiting,
        timeouts=timeouts,
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
        "resume": (
            'a dict of "/pkg.Service/Method" to a function of (request, received)',
            isinstance(value, Mapping)
            and all(str(k).startswith("/") and callable(v) for k, v in value.items()),
        ),
        "controller_credentials": (
            "grpc.ChannelCredentials or None",
            value is None or isinstance(value, grpc.ChannelCredentials),
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


def _service_config(
    text: Any,
    policies: dict[str, RetryPolicy],
    waiting: dict[str, bool],
    timeouts: dict[str, float],
    faults: list[str],
) -> str:
    """Fill in what the stub does itself; return the config without it."""
    try:
        config = json.loads(text)
        for method in config.get("methodConfig", ()):
            idempotent = method.pop("idempotent", None)
            retry = method.pop("retryPolicy", None)
            if not isinstance(idempotent, bool | None):
                raise TypeError(f"idempotent = {idempotent!r}: true or false")
            # A call that waits for ready would wait at one node, whatever becomes of the others.
            waits = method.pop("waitForReady", None)
            names = [_key(name) for name in method.get("name", ())]
            if waits is not None:
                waiting.update(dict.fromkeys(names, bool(waits)))
            if "timeout" in method:  # of the whole call, not of each attempt
                timeouts.update(dict.fromkeys(names, _span("timeout", method.pop("timeout"))))
            if retry is None and idempotent is None:
                continue
            policy = _policy(retry) if retry is not None else IDEMPOTENT if idempotent else ONCE
            policies.update(dict.fromkeys(names, policy))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        faults.append(
            f"option grpc.service_config = {str(text)[:200]!r}: a service config ({error})"
        )
        return "{}"
    return json.dumps(config)


def _key(name: Mapping[str, str]) -> str:
    service, method = name.get("service", ""), name.get("method", "")
    return f"/{service}/{method}" if service else ""


def _policy(raw: Mapping[str, Any]) -> RetryPolicy:
    attempts = raw["maxAttempts"]
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 2:
        raise ValueError(f"retryPolicy.maxAttempts = {attempts!r}: a whole number from 2")
    names = [str(name).upper() for name in raw["retryableStatusCodes"]]
    unknown = [name for name in names if name not in grpc.StatusCode.__members__]
    if unknown:
        raise ValueError(f"retryPolicy.retryableStatusCodes: no such code {unknown}")
    if not names:
        raise ValueError("retryPolicy.retryableStatusCodes = []: one code or more")
    multiplier = float(raw.get("backoffMultiplier", 2))
    if not 0 < multiplier < float("inf"):
        raise ValueError(f"retryPolicy.backoffMultiplier = {multiplier!r}: above 0")
    return RetryPolicy(
        max_attempts=min(attempts, MAX_ATTEMPTS),
        codes=frozenset(grpc.StatusCode[name] for name in names),
        initial_backoff_s=_span("retryPolicy.initialBackoff", raw["initialBackoff"]),
        max_backoff_s=_span("retryPolicy.maxBackoff", raw["maxBackoff"]),
        multiplier=multiplier,
    )


def _span(key: str, given: Any) -> float:
    text = str(given)
    value = float(text.removesuffix("s"))
    if not text.endswith("s") or not 0 < value < float("inf"):
        raise ValueError(f'{key} = {text!r}: seconds above 0, as in "0.1s"')
    return value
