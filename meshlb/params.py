"""Parameters of an extension, from TOML, JSON or Protobuf, checked against its ``Params``.

The annotations of the dataclass say what is right; its ``faults()``, if it has one, says the rest.
All faults are told at once, each as "FIELD = VALUE: allowed range".
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Fit: TypeAlias = tuple[bool, Any]
_NO: Fit = (False, None)


def build(kind: type, raw: Mapping[str, Any], at: str, faults: list[str]) -> Any:
    """Return a ``kind`` of the raw values; None, with what is wrong in ``faults``, if it cannot be.

    Whole numbers that came as 16.0, as Protobuf's Struct sends them, become whole numbers.
    """
    known = {f.name: f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    before = len(faults)
    values = {}
    for key, value in raw.items():
        if key not in known:
            listed = ", ".join(sorted(known)) or "none"
            faults.append(f"{at}.{key} = {_shown(value)}: not a parameter; known: {listed}")
            continue
        good, values[key] = fit(value, hints[key])
        if not good:
            faults.append(f"{at}.{key} = {_shown(value)}: {allowed(hints[key])}")
    faults += [
        f"{at}.{name}: required"
        for name, f in known.items()
        if name not in raw
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if len(faults) > before:
        return None
    try:
        made = kind(**values)
        wrong = made.faults() if hasattr(made, "faults") else []
    except (TypeError, ValueError) as error:
        wrong = [str(error)]
    faults += [f"{at}.{fault}" for fault in wrong]
    return None if wrong else made


def plain(value: Any) -> Any:
    """Return a value of ``build`` as JSON and TOML have it: lists and tables."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def fit(value: Any, hint: Any) -> Fit:
    """Return whether a value is of a type, and the value as that type has it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True, value
    if origin in (typing.Union, types.UnionType):
        return next((found for one in inner if (found := fit(value, one))[0]), _NO)
    if origin is typing.Literal:
        return value in inner, value
    if hint in (None, type(None)):
        return value is None, value
    if hint in (bool, str):
        return isinstance(value, hint), value
    if hint in (int, float):
        return _number(value, hint)
    if origin in (tuple, list, Sequence):
        return _sequence(value, origin, inner)
    if origin in (dict, Mapping):
        return _table(value, inner)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        made = build(typing.cast("type", hint), value, "", [])
        return made is not None, made
    return isinstance(hint, type) and isinstance(value, hint), value


def _number(value: Any, hint: type) -> Fit:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return _NO
    if hint is float:
        return True, float(value)
    return (True, int(value)) if value == int(value) else _NO


def _sequence(value: Any, origin: Any, inner: tuple[Any, ...]) -> Fit:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return _NO
    each: Sequence[Any] = [inner[0] if inner else Any] * len(value)
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        each = inner
    if len(each) != len(value):
        return _NO
    found = [fit(one, hint) for one, hint in zip(value, each, strict=True)]
    return all(good for good, _ in found), tuple(one for _, one in found)


def _table(value: Any, inner: tuple[Any, ...]) -> Fit:
    if not isinstance(value, Mapping):
        return _NO
    hint = inner[1] if inner else Any
    found = {str(key): fit(one, hint) for key, one in value.items()}
    return all(good for good, _ in found.values()), {k: one for k, (_, one) in found.items()}


def allowed(hint: Any) -> str:
    """Return in words what a type allows."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(allowed(one) for one in inner if one is not type(None))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (tuple, list, Sequence):
        return f"a list, each {allowed(inner[0])}" if inner else "a list"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a table"
    names = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
    return names.get(hint, "another type")


def _shown(value: Any) -> str:
    return repr(value)[:140]
