"""Reads what a channel's service config says of methods.

A method is idempotent if its entry in ``grpc.service_config`` has a ``retryPolicy``, a
``hedgingPolicy``, or our key ``"idempotent": true``. Retries and hedges are the stub's, on another
node, so nodes' channels get the config without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import grpc

from meshlb.client.retry import IDEMPOTENT, ONCE, RetryPolicy

ATTEMPT_LIMIT = "perAttemptRecvTimeout"
"""gRPC's own name for it, which its Python has not switched on."""
MAX_ATTEMPTS = 5  # gRFC A6
MOST_MULTIPLIER = 1e6  # its powers are still numbers


@dataclass(frozen=True, slots=True)
class Hedging:
    """How a method's calls are asked of another node too."""

    delay_s: float | None = None
    """After so many seconds without an answer; None: the 95th percentile of what calls take."""


@dataclass(frozen=True, slots=True)
class MethodRules:
    """What is said of methods, by "/pkg.Service/Method", "/pkg.Service/" or "" (all)."""

    policies: dict[str, RetryPolicy] = field(default_factory=dict)
    waiting: dict[str, bool] = field(default_factory=dict)
    """``waitForReady``."""
    timeouts: dict[str, float] = field(default_factory=dict)
    """``timeout``, in seconds."""
    hedging: dict[str, Hedging] = field(default_factory=dict)
    attempts: dict[str, float] = field(default_factory=dict)
    """``perAttemptRecvTimeout``, in seconds; 0: none."""
    idle: dict[str, float] = field(default_factory=dict)
    """``idleTimeout``, in seconds."""


def read(text: Any, faults: list[str]) -> tuple[MethodRules, str]:
    """Return what the stub does itself, and the config without it; add what is wrong to faults."""
    rules = MethodRules()
    try:
        config = json.loads(text)
        for method in config.get("methodConfig", ()):
            names = [_key(name) for name in method.get("name", ())]
            _take(method, names, rules)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        faults.append(
            f"option grpc.service_config = {str(text)[:200]!r}: a service config ({error})"
        )
        return MethodRules(), "{}"
    return rules, json.dumps(config)


def _take(method: dict[str, Any], names: list[str], rules: MethodRules) -> None:
    """Take out of one entry what is ours."""
    idempotent = method.pop("idempotent", None)
    retry, hedging = method.pop("retryPolicy", None), method.pop("hedgingPolicy", None)
    if not isinstance(idempotent, bool | None):
        raise TypeError(f"idempotent = {idempotent!r}: true or false")
    if hedging is not None and retry is not None:
        raise ValueError("retryPolicy and hedgingPolicy: one of them (gRFC A6)")
    if hedging is not None and idempotent is False:
        raise ValueError("idempotent = false with a hedgingPolicy: true, or left out")
    # A call that waits for ready would wait at one node, whatever becomes of the others.
    waits = method.pop("waitForReady", None)
    if waits is not None:
        rules.waiting.update(dict.fromkeys(names, bool(waits)))
    if "timeout" in method:  # of the whole call, not of each attempt
        timeout_s = _span("timeout", method.pop("timeout"))
        rules.timeouts.update(dict.fromkeys(names, timeout_s))
    if "idleTimeout" in method:
        idle_s = _span("idleTimeout", method.pop("idleTimeout"))
        rules.idle.update(dict.fromkeys(names, idle_s))
    attempt_s = _attempt_limit(method, retry, idempotent, hedging, names)
    if attempt_s is not None:
        rules.attempts.update(dict.fromkeys(names, attempt_s))
    if hedging is not None:
        rules.hedging.update(dict.fromkeys(names, _hedging(hedging)))
        policy = replace(IDEMPOTENT, codes=IDEMPOTENT.codes | _codes(
            "hedgingPolicy.nonFatalStatusCodes", hedging.get("nonFatalStatusCodes", ())
        ))  # fmt: skip
    elif retry is None and idempotent is None:
        return
    else:
        policy = _policy(retry) if retry is not None else IDEMPOTENT if idempotent else ONCE
    rules.policies.update(dict.fromkeys(names, policy))


def _attempt_limit(
    method: dict[str, Any], retry: Any, idempotent: bool | None, hedging: Any, names: list[str]
) -> float | None:
    """Return ``perAttemptRecvTimeout``, of the retryPolicy as in gRPC, or beside it."""
    beside = method.pop(ATTEMPT_LIMIT, None)
    within = retry.pop(ATTEMPT_LIMIT, None) if isinstance(retry, dict) else None
    if beside is None and within is None:
        return None
    given = beside if within is None else within
    if beside is not None and within is not None:
        raise ValueError(f"{ATTEMPT_LIMIT} = {given!r}: once, in the retryPolicy or beside it")
    if hedging is not None:
        raise ValueError(f"{ATTEMPT_LIMIT} = {given!r}: not with a hedgingPolicy, which waits less")
    if retry is None and idempotent is not True:
        raise ValueError(
            f"{ATTEMPT_LIMIT} = {given!r} of {', '.join(name or 'all methods' for name in names)}: "
            'only where calls may be sent twice, with "idempotent": true or a retryPolicy'
        )
    return 0.0 if given == "0s" else _span(ATTEMPT_LIMIT, given)


def _hedging(raw: Mapping[str, Any]) -> Hedging:
    _attempts("hedgingPolicy.maxAttempts", raw["maxAttempts"])
    if "hedgingDelay" not in raw:
        return Hedging()
    return Hedging(_span("hedgingPolicy.hedgingDelay", raw["hedgingDelay"]))


def _key(name: Mapping[str, str]) -> str:
    service, method = name.get("service", ""), name.get("method", "")
    return f"/{service}/{method}" if service else ""


def _policy(raw: Mapping[str, Any]) -> RetryPolicy:
    attempts = _attempts("retryPolicy.maxAttempts", raw["maxAttempts"])
    codes = _codes("retryPolicy.retryableStatusCodes", raw["retryableStatusCodes"])
    if not codes:
        raise ValueError("retryPolicy.retryableStatusCodes = []: one code or more")
    multiplier = float(raw.get("backoffMultiplier", 2))
    if not 0 < multiplier <= MOST_MULTIPLIER:
        raise ValueError(
            f"retryPolicy.backoffMultiplier = {multiplier!r}: above 0, at most {MOST_MULTIPLIER:g}"
        )
    return RetryPolicy(
        max_attempts=min(attempts, MAX_ATTEMPTS),
        codes=codes,
        initial_backoff_s=_span("retryPolicy.initialBackoff", raw["initialBackoff"]),
        max_backoff_s=_span("retryPolicy.maxBackoff", raw["maxBackoff"]),
        multiplier=multiplier,
    )


def _span(key: str, given: Any) -> float:
    text = str(given)
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not text.endswith("s") or not 0 < value < float("inf"):
        raise ValueError(f'{key} = {text!r}: seconds above 0, as in "0.1s"')
    return value


def _attempts(key: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 2:
        raise ValueError(f"{key} = {given!r}: a whole number from 2")
    return given


def _codes(key: str, given: Any) -> frozenset[grpc.StatusCode]:
    names = [str(name).upper() for name in given]
    unknown = [name for name in names if name not in grpc.StatusCode.__members__]
    if unknown:
        raise ValueError(f"{key}: no such code {unknown}")
    return frozenset(grpc.StatusCode[name] for name in names)
