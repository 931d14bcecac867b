"""A decision as canonical JSON and back, and the same decision made again from it.

Keys are sorted, floats are written as the shortest text that reads back to the same bits, and the
text of a record read back is that of the record. Fields that a record of an older version lacks
have their defaults; its own fields that are gone since are refused, since it could not be replayed.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from meshlb.errors import InvalidInputError
from meshlb.policy.decide_scale import decide
from meshlb.scale_model import Decision, ScalePolicy

SCHEMA = 1


def to_json(decision: Decision) -> str:
    """Return the record. Raises ValueError for a figure that is not finite."""
    return _text({"schema": SCHEMA, **_plain(decision)})


def from_json(text: str) -> Decision:
    """Return the decision of a record. Raises InvalidInputError for a text that is none."""
    raw = _parsed(text)
    schema = raw.pop("schema", None)
    if schema != SCHEMA:
        raise InvalidInputError(f"schema = {schema!r}: {SCHEMA}", reason="INVALID_RECORD")
    made = _built(Decision, raw, "record")
    assert isinstance(made, Decision)
    return made


def replay(text: str) -> Decision:
    """Return what this version decides from a record's inputs and policy."""
    recorded = from_json(text)
    return decide(recorded.policy, recorded.inputs)


def policy_to_json(policy: ScalePolicy) -> str:
    """Return a policy as canonical JSON."""
    return _text(_plain(policy))


def policy_from_json(text: str) -> ScalePolicy:
    """Return a policy. Raises InvalidInputError for a text that is none."""
    made = _built(ScalePolicy, _parsed(text), "policy")
    assert isinstance(made, ScalePolicy)
    return made


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise InvalidInputError(
            f"record: JSON as written by scale_record ({error})", reason="INVALID_RECORD"
        ) from error
    if not isinstance(raw, dict):
        raise InvalidInputError("record: a JSON object", reason="INVALID_RECORD")
    return raw


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not finite")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _built(kind: Any, raw: Any, at: str) -> Any:
    """Return ``raw`` as a value of a type of ``scale_model``."""
    if kind is Any:
        return raw
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if raw is None and type(None) in args:
            return None
        return _built(next(a for a in args if a is not type(None)), raw, at)
    try:
        if origin is tuple:
            return tuple(_built(args[0], one, f"{at}[{i}]") for i, one in enumerate(raw))
        if origin is Mapping:
            return {key: _built(args[1], one, f"{at}.{key}") for key, one in raw.items()}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return kind(raw)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            hints = _hints(kind)
            return kind(**{k: _built(hints[k], v, f"{at}.{k}") for k, v in raw.items()})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"{at} = {raw!r:.200}: {getattr(kind, '__name__', kind)}", reason="INVALID_RECORD"
        ) from error
    if not isinstance(raw, (int, float) if kind is float else kind) or (
        isinstance(raw, bool) and kind is not bool
    ):
        raise InvalidInputError(f"{at} = {raw!r:.200}: {kind.__name__}", reason="INVALID_RECORD")
    return raw
