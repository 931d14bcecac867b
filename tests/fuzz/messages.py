"""Messages of any kind, made from their descriptors: a new message or field is covered at once.

A value is plausible by the name of its field, or hostile. Most messages are plausible but for a few
fields, so that what checks them is passed often enough for what stands behind it to be tried too.
"""

import importlib
import math
import pkgutil

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor as Field

import meshlb.v1
from meshlb import plugins, scale_model, settings

MOST_DEPTH = 6
PLAUSIBLE = {
    "service": ["s", "s", "s", "t"],
    "node_id": ["a", "a", "b", "c"],
    "address": ["127.0.0.1:1", "127.0.0.1:2", "h:80", "[::1]:80"],
    "client_id": ["client 1", "client 2"],
    "request_id": [f"request {n}" for n in range(40)],
    "kind": plugins.names("meshlb.policy.rules"),
    "picker": ["", *plugins.names(settings.PICKERS)],
    "key": ["target", "signal", "max", "min", "at", "count"],
    "string_value": [*scale_model.SIGNALS, "x"],
    "idempotent_methods": ["/a.B/C", "/a.B/"],
}
TEXTS = [
    "", " ", "x" * 129, "x" * 254, "x" * 5000, "\0", "\n", "\x7f", "é", "\U00010000" * 140,
    "\ud7ff", "a b", "/", "'\"\\", "-1", "nan", "h:0", ":1", "h:99999", "[]:1", "../s", "%s{}",
    "no such",
]  # fmt: skip
WHOLES = [0, -1, 1, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 10**6, 10**9]
FLOATS = [
    math.nan, math.inf, -math.inf, -0.0, 0.0, -1.0, 5e-324, 1e-300, 1e-9, 1.5, 2.0**53, 1e18, 1e300,
    1.7976931348623157e308, -1.7976931348623157e308,
]  # fmt: skip
TIMES = ("google.protobuf.Duration", "google.protobuf.Timestamp")
SECONDS = [0, -1, 10**6, 315_576_000_001, 253_402_300_800, 2**63 - 1, -(2**63), 1, 2**53]
NANOS = [0, -1, 999_999_999, 10**9, 2**31 - 1, -(2**31)]


class Bytes:
    """Draws choices from bytes, made by hypothesis, or by a fuzzer that follows coverage."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def below(self, count):
        """Return a number from 0 to ``count`` - 1; 0 once the bytes are used up."""
        at, self._at = self._at, self._at + 1
        return self._data[at] % count if at < len(self._data) else 0

    @property
    def used_up(self):
        return self._at >= len(self._data)


def one_of(source, values):
    return values[source.below(len(values))]


def modules():
    """Return all modules generated from protos/meshlb/v1."""
    return [
        importlib.import_module(f"meshlb.v1.{one.name}")
        for one in pkgutil.iter_modules(meshlb.v1.__path__)
        if one.name.endswith("_pb2")
    ]


def descriptors():
    """Return every message there is, by its full name."""
    return {
        one.full_name: one for m in modules() for one in m.DESCRIPTOR.message_types_by_name.values()
    }


def rpcs():
    """Return every method of every service, by its name on the wire."""
    return {
        f"/{service.full_name}/{method.name}": method
        for m in modules()
        for service in m.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def made(descriptor, source, depth=0):
    """Return a message of any content."""
    message = message_factory.GetMessageClass(descriptor)()
    wild = source.below(3) == 0
    if descriptor.full_name in TIMES:
        message.seconds = one_of(source, SECONDS) if wild else source.below(6)
        message.nanos = one_of(source, NANOS) if wild else source.below(1000) * 10**6
        return message
    groups = [one for one in descriptor.oneofs if len(one.fields) > 1]
    chosen = {one.name: source.below(len(one.fields) + 1) for one in groups}
    for field in descriptor.fields:
        group = field.containing_oneof
        if group is not None and len(group.fields) > 1:
            if group.fields[chosen[group.name] - 1] is not field or not chosen[group.name]:
                continue
        elif group is not None and source.below(2):
            continue  # optional, and left out
        if not (wild and source.below(8) == 0):
            _fill(message, field, source, wild and source.below(4) == 0, depth)
    return message


def _fill(message, field, source, wild, depth):
    if field.is_repeated:
        count = one_of(source, [0, 1, 1, 2, 3, 70] if wild and depth < 2 else [0, 1, 2])
        for _ in range(count):
            _add(getattr(message, field.name), field, source, wild, depth)
    elif field.type == Field.TYPE_MESSAGE:
        if depth < MOST_DEPTH:
            getattr(message, field.name).CopyFrom(made(field.message_type, source, depth + 1))
    else:
        setattr(message, field.name, _value(field, source, wild))


def _add(place, field, source, wild, depth):
    if field.type != Field.TYPE_MESSAGE:
        place.append(_value(field, source, wild))
    elif depth >= MOST_DEPTH:
        return
    elif not field.message_type.GetOptions().map_entry:
        place.append(made(field.message_type, source, depth + 1))
    else:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        called = _value(key, source, wild)
        if value.type == Field.TYPE_MESSAGE:
            place[called].CopyFrom(made(value.message_type, source, depth + 1))
        else:
            place[called] = _value(value, source, wild)


def _value(field, source, wild):
    if field.type == Field.TYPE_ENUM:
        known = [one.number for one in field.enum_type.values]
        return one_of(source, [-1, 99, 2**31 - 1, -(2**31)] if wild else known)
    if field.type == Field.TYPE_BOOL:
        return bool(source.below(2))
    if field.type in (Field.TYPE_STRING, Field.TYPE_BYTES):
        text = one_of(source, TEXTS if wild else PLAUSIBLE.get(field.name, ["", "x", "y"]))
        return text if field.type == Field.TYPE_STRING else text.encode()
    if field.type in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT):
        return one_of(source, FLOATS) if wild else source.below(9) / 8
    whole = one_of(source, WHOLES) if wild else 1 + source.below(5)
    if field.type in (Field.TYPE_INT32, Field.TYPE_SINT32, Field.TYPE_SFIXED32):
        return max(-(2**31), min(2**31 - 1, whole))
    if field.type in (Field.TYPE_UINT32, Field.TYPE_FIXED32):
        return max(0, min(2**32 - 1, whole))
    return max(0, whole) if field.type in (Field.TYPE_UINT64, Field.TYPE_FIXED64) else whole
