"""A scale policy as TOML: the keys of ``[service.NAME.scale]``, to and from its message.

Names follow from the message: ``min_count`` is ``min``, a Duration ``x`` is ``x_s`` in seconds, an
enum is its last word in small letters. Ranges and rules are the controller's to check, so that
rules which only the controller has installed can be stored from anywhere.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from meshlb.errors import InvalidInputError
from meshlb.v1 import scale_pb2
from meshlb.wire_time import duration, seconds

_SHORT = {"min_count": "min", "max_count": "max"}
_FIELDS = scale_pb2.ScalePolicy.DESCRIPTOR.fields_by_name
_LONGEST_S = 1e9


def read(path: str, service: str) -> scale_pb2.ScalePolicy:
    """Return the policy that a file says, alone or as ``[service.NAME.scale]`` of a meshlb.toml.

    Raises InvalidInputError with all faults of form.
    """
    try:
        raw: Any = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"policy = {path!r}: a readable file ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"policy = {path!r}: valid TOML ({error})") from error
    at = ""
    if "service" in raw:
        at = f"service.{service}.scale."
        for key in ("service", service, "scale"):
            raw = raw.get(key) if isinstance(raw, Mapping) else None
        if not isinstance(raw, Mapping):
            raise InvalidInputError(f"{at[:-1]}: a table of {path!r}; it has none")
    return of(service, raw, at)


def of(service: str, raw: Mapping[str, Any], at: str = "") -> scale_pb2.ScalePolicy:
    """Return the policy that a table says; ``at`` leads the names of its keys in faults."""
    faults: list[str] = []
    policy = scale_pb2.ScalePolicy(service=service)
    keys = {_key(field): field for name, field in _FIELDS.items() if name != "service"}
    for key, value in raw.items():
        if key not in keys:
            known = ", ".join(sorted(keys))
            faults.append(f"{at}{key} = {_shown(value)}: not a key; known: {known}")
        elif key == "rules":
            _rules(value, policy, f"{at}rules", faults)
        else:
            allowed = _put(policy, keys[key], value)
            if allowed:
                faults.append(f"{at}{key} = {_shown(value)}: {allowed}")
    if faults:
        raise InvalidInputError(faults)
    return policy


def show(policy: scale_pb2.ScalePolicy) -> str:
    """Return a policy as TOML that ``read`` takes back."""
    table = f"service.{_bare(policy.service)}.scale"
    lines = [f"[{table}]"]
    for name, field in _FIELDS.items():
        if name not in ("service", "rules") and (not field.has_presence or policy.HasField(name)):
            value = getattr(policy, name)
            if field.message_type is not None:
                value = seconds(value)
            elif field.enum_type is not None:
                value = _word(field, value)
            if value != "unspecified":
                lines.append(f"{_key(field)} = {_toml(value)}")
    for rule in policy.rules:
        lines += ["", f"[[{table}.rules]]", f"kind = {_toml(rule.kind)}"]
        if rule.name:
            lines.append(f"name = {_toml(rule.name)}")
        params = json_format.MessageToDict(rule.params)
        lines += [f"{_bare(key)} = {_toml(value)}" for key, value in sorted(params.items())]
    return "\n".join(lines)


@contextmanager
def keys_in_faults() -> Iterator[None]:
    """Have faults that a controller finds name a file's keys: ``policy.min_count`` is ``min``."""

    def key(match: re.Match[str]) -> str:
        field = _FIELDS.get(match[1])
        return match[1] if field is None else _key(field)

    try:
        yield
    except InvalidInputError as error:
        faults = [re.sub(r"\bpolicy\.(\w+)", key, fault) for fault in error.faults]
        raise InvalidInputError(faults, reason=error.reason) from error


def _key(field: Any) -> str:
    timed = field.message_type is not None and field.message_type.name == "Duration"
    return f"{field.name}_s" if timed else _SHORT.get(field.name, field.name)


def _word(field: Any, number: int) -> str:
    names = [value.name for value in field.enum_type.values]
    prefix = names[0].removesuffix("UNSPECIFIED")
    name: str = field.enum_type.values_by_number[number].name
    return name.removeprefix(prefix).lower()


def _put(policy: scale_pb2.ScalePolicy, field: Any, value: Any) -> str | None:
    """Set one field; return what is allowed if the value is not."""
    if field.enum_type is not None:
        words = {_word(field, each.number): each.number for each in field.enum_type.values[1:]}
        if not isinstance(value, str) or value not in words:
            return f"one of {', '.join(words)}"
        setattr(policy, field.name, words[value])
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or abs(value) > _LONGEST_S:
        return "a number"
    if field.message_type is not None:
        getattr(policy, field.name).CopyFrom(duration(value))
    elif field.cpp_type == field.CPPTYPE_INT64:
        if value != int(value):
            return "a whole number"
        setattr(policy, field.name, int(value))
    else:
        setattr(policy, field.name, float(value))
    return None


def _rules(raw: Any, policy: scale_pb2.ScalePolicy, at: str, faults: list[str]) -> None:
    if not isinstance(raw, list):
        faults.append(f"{at} = {_shown(raw)}: tables, each begun with [[...rules]]")
        return
    for index, one in enumerate(raw):
        values = dict(one) if isinstance(one, Mapping) else {}
        kind, name = values.pop("kind", None), values.pop("name", "")
        nested = values.pop("params", {})
        if not isinstance(kind, str):
            faults.append(
                f"{at}[{index}].kind = {_shown(kind)}: the name of a rule, such as reserve"
            )
            continue
        if not isinstance(name, str) or not isinstance(nested, Mapping):
            faults.append(f"{at}[{index}]: name is a text, params a table")
            continue
        try:
            rule = policy.rules.add(kind=kind, name=name)
            rule.params.update(_plain({**nested, **values}))
        except (ValueError, TypeError) as error:
            faults.append(f"{at}[{index}]: {error}")


def _plain(value: Any) -> Any:
    """Return a TOML value as JSON has it; times of day become text."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_bare(k)} = {_toml(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return repr(value)


def _bare(key: str) -> str:
    plain = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if plain else _toml(key)


def _shown(value: Any) -> str:
    return repr(value)[:140]
