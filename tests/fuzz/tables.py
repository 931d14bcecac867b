"""Configurations of any content, made from the dataclasses that read them."""

import dataclasses
import datetime as dt
import typing

from meshlb import plugins, scale_model, scale_settings, settings
from tests.fuzz.messages import FLOATS, TEXTS, WHOLES, one_of

KEYS = ("", "a", "a b", "x" * 200, "é", '"', "s", "no.dots", "\0")
HUGE = 2**70
LIKELY = {
    "idempotent_methods": ([], ["/a.B/C", "/a.B/"]),
    "command": (["x"], ["x", "--port", "{port}"], ["/bin/sh", "-c", "\n\"'"]),
    "weight_params": ({}, {}, {"blackout_s": 1}),
    "priorities": ({}, {"critical": 0.2, "default": 0.0}, {"a": 1}),
    "signal": scale_model.SIGNALS,
    "target": (0.1, 1, 4.0, "50%"),
}
"""By the name of a field, where its kind alone says too little."""
PLAIN = ("/a.B/C", "s", "in_flight", "latency", "127.0.0.1:0", "active", "0 8 * * *", "Europe/Rome")


def scalar(source):
    """Return a value of any kind that TOML has."""
    kind = source.below(9)
    if kind < 2:
        return one_of(source, (*WHOLES, HUGE, -HUGE))
    if kind < 4:
        return one_of(source, FLOATS)
    if kind < 5:
        return bool(source.below(2))
    if kind < 6:
        when = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        return one_of(source, (when, when.date(), when.time()))
    return one_of(source, (*TEXTS, *PLAIN))


def value(source, depth=0):
    """Return a scalar, a list or a table."""
    kind = source.below(6)
    if kind < 4 or depth > 2:
        return scalar(source)
    count = source.below(4)
    if kind < 5:
        return [value(source, depth + 1) for _ in range(count)]
    return {one_of(source, KEYS): value(source, depth + 1) for _ in range(count)}


def _likely(hint, source):
    """Return a value that a field with this annotation may well take."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return one_of(source, inner)
    if hint is bool:
        return bool(source.below(2))
    if hint is int:
        return 1 + source.below(10)
    if hint is float:
        return one_of(source, (0.5, 1.0, 3, 20.0, 0.001))
    if hint is str:
        return one_of(source, PLAIN)
    if inner and type(None) in inner:
        return _likely(inner[0], source)
    if typing.get_origin(hint) in (tuple, list) and inner:
        return [_likely(inner[0], source) for _ in range(source.below(3))]
    if dataclasses.is_dataclass(hint):
        return _of(hint, source, wild=False)
    return {one_of(source, KEYS): one_of(source, PLAIN)} if source.below(2) else {}


def _of(kind, source, wild):
    """Return a table for a dataclass."""
    hints = typing.get_type_hints(kind)
    made = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING and source.below(2):
            continue
        if wild and source.below(4) == 0:
            made[field.name] = value(source)
        elif field.name in LIKELY:
            made[field.name] = one_of(source, LIKELY[field.name])
        elif "range" in field.metadata:
            made[field.name] = one_of(source, field.metadata["range"])
        elif "plugin" in field.metadata:
            made[field.name] = one_of(source, plugins.names(field.metadata["plugin"]))
        else:
            made[field.name] = _likely(hints[field.name], source)
    if wild and source.below(3) == 0:
        made[one_of(source, KEYS)] = value(source)
    return made


def _extension(package, source, wild):
    kind = one_of(source, plugins.names(package))
    made = {"kind": kind, **_of(plugins.load(package, kind).Params, source, wild)}
    if wild and source.below(4) == 0:
        made["kind"] = value(source)
    return made


def policy(source, wild):
    """Return a ``[service.NAME.scale]``."""
    made = {}
    for key, allowed in scale_settings.RANGES.items():
        if source.below(4) == 0:
            made[key] = value(source) if wild and source.below(2) else one_of(source, allowed)
    for key, kind in scale_settings.CHOICES.items():
        made[key] = value(source) if wild and source.below(4) == 0 else next(iter(kind)).value
    if source.below(2):
        rules = [_extension(scale_settings.RULES, source, wild) for _ in range(1 + source.below(2))]
        made["rules"] = value(source) if wild and source.below(4) == 0 else rules
    return made


def access(source, wild):
    """Return an ``[access]``, with rules where it need not hold: those ask for certificates."""
    made = {"tokens": one_of(source, ("tokens.toml", "/x"))}
    if wild:
        rules = [_of(settings.access_settings.Rule, source, wild) for _ in range(source.below(3))]
        made["rule"] = value(source) if source.below(3) == 0 else rules
    return made


def configuration(source):
    """Return what a configuration file may say, as ``tomllib`` gives it."""
    wild = source.below(3) == 0
    made = {}
    for field in dataclasses.fields(settings.Settings):
        kind = field.default_factory
        if field.name in ("controller", "default") and source.below(2):
            made[field.name] = _of(kind, source, wild)
    if source.below(4) == 0:
        made["access"] = access(source, wild)
    if wild and source.below(4) == 0:
        made["controller"] = {"tls": _of(settings.TlsSettings, source, wild)}
    services = {}
    for _ in range(source.below(3)):
        service = _of(settings.ServiceSettings, source, wild)
        if source.below(2):
            service["scale"] = policy(source, wild)
        if source.below(2):
            service["actuator"] = _extension(scale_settings.ACTUATORS, source, wild)
        services[one_of(source, KEYS if wild else ("s", "t", "a.b"))] = service
    made["service"] = services
    if wild and source.below(3) == 0:
        made[one_of(source, (*KEYS, *made))] = value(source)
    return made
