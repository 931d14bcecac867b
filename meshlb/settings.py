"""``meshlb.toml``: small frozen dataclasses, read, checked and shown in one place.

Unknown keys are errors, and all faults are told at once, each as "KEY = VALUE: allowed range".
Times are seconds, parts are fractions. A missing key has the default written here. Long because
every key stands here, with its range and what it is for.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from meshlb import access_settings, limit_settings, plugins, scale_settings
from meshlb.access_settings import AccessSettings, TlsSettings
from meshlb.errors import InvalidInputError
from meshlb.model import DEFAULT_PICKER, CallLimits, Priority
from meshlb.scale_model import ScalePolicy
from meshlb.scale_settings import ActuatorSpec

PICKERS = "meshlb.policy.pickers"
WEIGHTS = "meshlb.policy.weights"
T = TypeVar("T", "ControllerSettings", "ServiceSettings")
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


def _whole(default: int, least: int, most: int, help: str) -> Any:
    return field(default=default, metadata={"range": (least, most), "help": help})


def _number(default: float, least: float, most: float, help: str) -> Any:
    return field(default=float(default), metadata={"range": (least, most), "help": help})


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """The whole controller."""

    listen: str = field(
        default="127.0.0.1:7700",
        metadata={"help": "HOST:PORT to serve on; port 0 takes a free one"},
    )
    tick_s: float = _number(0.1, 0.01, 10, "time between decisions")
    reports_per_s: float = _number(
        2000, 1, 1e6, "load reports a second from all sidecars together; intervals grow to hold it"
    )
    shares_per_s: float = _number(
        1000, 1, 1e6, "shares a second to all clients together; intervals grow to hold it"
    )
    weighed_per_s: float = _number(
        1000, 1, 1e6,
        "nodes whose weight and speed are looked at a second; publish intervals grow to hold it",
    )  # fmt: skip
    min_interval_s: float = _number(0.1, 0.02, 60, "least time between reports, and between shares")
    grace_s: float = _number(
        3, 0, 600, "after its start, how long a controller listens before its tables are complete"
    )
    keep_decisions_s: float = _number(
        604800, 60, 3.2e7, "scale decisions are kept so long; without a state file the last 10000"
    )
    allow_plain_text: bool = field(
        default=False, metadata={"help": "serve plain text on other addresses than loopback too"}
    )
    max_message_bytes: int = _whole(4194304, 65536, 67108864, "longest message taken from a peer")
    max_streams_per_peer: int = _whole(
        10000, 1, 1000000, "streams that one identity, or without one one host, may have open"
    )
    max_services: int = _whole(1000, 1, 100000, "services that are kept; more are refused")
    max_nodes: int = _whole(10000, 1, 10000, "nodes of one service; more are refused")
    max_clients: int = _whole(10000, 1, 100000, "clients of one service; more are refused")
    report_burst: int = _whole(
        50, 1, 10000, "messages a stream may be ahead of twice its pace; what comes faster waits"
    )


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """One service; ``[service.NAME]`` in the file, ``[default]`` for those that have none."""

    picker: str = field(
        default=DEFAULT_PICKER, metadata={"plugin": PICKERS, "help": "how clients choose a node"}
    )
    weight: str = field(
        default="capacity", metadata={"plugin": WEIGHTS, "help": "how weights are computed"}
    )
    weight_params: Mapping[str, Any] = field(
        default_factory=dict, metadata={"params_of": "weight", "help": "parameters of that file"}
    )
    idempotent_methods: tuple[str, ...] = field(
        default=(),
        metadata={"help": 'methods that may be sent twice: "/pkg.Service/Method", "/pkg.Service/"'},
    )
    fresh_s: float = _number(
        3, 0.1, 3600, "a node is unknown when its last report is older than this and 5 intervals"
    )
    forget_s: float = _number(
        60, 1, 86400, "an unknown node is forgotten after this if no call succeeds there either"
    )
    slow_start_s: float = _number(
        10, 0, 3600, "a node that joins others grows to its full weight in this time; 0: at once"
    )
    eject_after_failures: int = field(
        default=10,
        metadata={
            "range": (0, 1_000_000),
            "help": "a node is ejected when so many calls of all clients fail in a row; 0: never",
        },
    )
    eject_failing: float = _number(
        0.85, 0.01, 1, "a node is ejected when this part of its calls fails"
    )
    eject_deviations: float = _number(
        1.9, 0, 100,
        "or when it is so many standard deviations worse than the others; 0: never for that",
    )  # fmt: skip
    eject_least_calls: int = field(
        default=30,
        metadata={
            "range": (1, 1_000_000_000),
            "help": "a node with fewer calls in an interval is not judged by the part that failed",
        },
    )
    eject_interval_s: float = _number(5, 0.1, 3600, "interval over which these parts are compared")
    eject_base_s: float = _number(
        10, 0.1, 86400, "a node is ejected for so long at first, twice as long each time"
    )
    eject_max_s: float = _number(300, 0.1, 86400, "and for so long at the most")
    eject_most: float = _number(
        0.3, 0, 1, "part of the nodes ejected at once at the most, but always one of two; 0: none"
    )
    eject_panic: float = _number(
        0.5, 0, 1, "nobody is ejected where less than this part of the nodes would be left"
    )
    subset_size: int = field(
        default=64,
        metadata={"range": (1, 10000), "help": "nodes that one client gets at the most"},
    )
    max_in_flight: int = field(
        default=0,
        metadata={"range": (0, 10**9), "help": "calls in flight, all clients together; 0: any"},
    )
    max_in_flight_per_node: int = field(
        default=0,
        metadata={"range": (0, 10**6), "help": "calls in flight at one node, likewise; 0: any"},
    )
    max_waiting: int = field(
        default=100,
        metadata={"range": (0, 10**6), "help": "calls that may wait for room in one client"},
    )
    priorities: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"check": limit_settings.priorities_fault,
                  "help": "classes of calls, the most important first, and their floors"},
    )  # fmt: skip
    publish_change: float = _number(
        0.05, 0, 1, "a weight or speed must move by this part to make a new table"
    )
    publish_interval_s: float = _number(
        0.5, 0.05, 60, "least time between tables that change only weights or speeds"
    )

    def limits(self, clients: int) -> CallLimits | None:
        """Return the limits of calls in flight where there are so many clients; None: no limit."""
        if not self.max_in_flight and not self.max_in_flight_per_node:
            return None
        return CallLimits(
            in_flight=self.max_in_flight or None,
            per_node=self.max_in_flight_per_node or None,
            waiting=self.max_waiting,
            priorities=tuple(Priority(*one) for one in self.priorities.items()),
            clients=clients,
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a configuration file says."""

    controller: ControllerSettings = field(default_factory=ControllerSettings)
    default: ServiceSettings = field(default_factory=ServiceSettings)
    services: Mapping[str, ServiceSettings] = field(default_factory=dict)
    policies: Mapping[str, ScalePolicy] = field(default_factory=dict)
    """How services are scaled, ``[service.NAME.scale]``; one stored over gRPC goes before it."""
    actuators: Mapping[str, ActuatorSpec] = field(default_factory=dict)
    """What starts and stops their replicas, ``[service.NAME.actuator]``."""
    tls: TlsSettings = field(default_factory=TlsSettings)
    """``[controller.tls]``."""
    access: AccessSettings = field(default_factory=AccessSettings)
    """``[access]``."""

    def of(self, service: str) -> ServiceSettings:
        """Return what holds for a service."""
        return self.services.get(service, self.default)


def load(path: str | Path) -> Settings:
    """Read a file. Raises InvalidInputError for one that is missing, no TOML, or wrong."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"config = {str(path)!r}: a readable file ({error.strerror})", reason="INVALID_CONFIG"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"config = {str(path)!r}: valid TOML ({error})", reason="INVALID_CONFIG"
        ) from error
    return parse(raw)


def parse(raw: Mapping[str, Any]) -> Settings:
    """Return the settings that a parsed file says; raise InvalidInputError with all its faults."""
    faults = [
        f"{key} = {raw[key]!r}: not a key; known: access, controller, default, service"
        for key in raw.keys() - {"access", "controller", "default", "service"}
    ]
    whole = _section(raw, "controller", faults)
    own = {key: value for key, value in whole.items() if key != "tls"}
    controller = _read(ControllerSettings(), own, "controller", faults)
    tls = access_settings.read_tls(_section(whole, "tls", faults, "controller.tls"), faults)
    access = access_settings.read_access(_section(raw, "access", faults), tls, faults)
    default = _read(ServiceSettings(), _section(raw, "default", faults), "default", faults)
    services: dict[str, ServiceSettings] = {}
    policies: dict[str, ScalePolicy] = {}
    actuators: dict[str, ActuatorSpec] = {}
    for name, section in _section(raw, "service", faults).items():
        if not _SERVICE.match(name):
            faults.append(f"service.{name}: a name of 1 to 128 characters of A-Z a-z 0-9 . _ -")
        if not isinstance(section, Mapping):
            faults.append(f"service.{name} = {section!r}: a table")
            continue
        own = {key: value for key, value in section.items() if key not in ("scale", "actuator")}
        services[name] = _read(default, own, f"service.{name}", faults)
        at = f"service.{name}.scale"
        if "scale" in section:
            table = _section(section, "scale", faults, at)
            policy = scale_settings.read_policy(name, table, at, faults)
            policies |= {} if policy is None else {name: policy}
        at = f"service.{name}.actuator"
        if "actuator" in section:
            table = _section(section, "actuator", faults, at)
            actuator = scale_settings.read_actuator(table, at, faults)
            actuators |= {} if actuator is None else {name: actuator}
    if faults:
        raise InvalidInputError(faults, reason="INVALID_CONFIG")
    return Settings(controller, default, services, policies, actuators, tls, access)


def to_toml(settings: Settings) -> str:
    """Return the effective settings as a file that loads back to the same."""
    parts = [
        _toml_table("controller", settings.controller),
    ]
    for head, entries in access_settings.tables(settings.tls, settings.access).items():
        for entry in entries:
            lines = [head, *(f"{key} = {_toml(value)}" for key, value in entry.items())]
            parts.append("\n".join(lines) + "\n")
    parts.append(_toml_table("default", settings.default))
    for name, service in sorted(settings.services.items()):
        parts.append(_toml_table(f'service."{name}"', service))
        if name in settings.policies:
            parts.append(_toml_policy(name, settings.policies[name]))
        if name in settings.actuators:
            actuator = settings.actuators[name]
            lines = [f'[service."{name}".actuator]', f"kind = {_toml(actuator.kind)}"]
            lines += [f"{key} = {_toml(value)}" for key, value in actuator.params.items()]
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _section(
    raw: Mapping[str, Any], key: str, faults: list[str], at: str = ""
) -> Mapping[str, Any]:
    section = raw.get(key, {})
    if isinstance(section, Mapping):
        return section
    faults.append(f"{at or key} = {section!r}: a table")
    return {}


def _read(base: T, section: Mapping[str, Any], at: str, faults: list[str]) -> T:
    fields = {f.name: f for f in dataclasses.fields(base)}
    usual = type(base)()  # of the kinds that values are to have; in ``base`` 3.0 may stand as 3
    good: dict[str, Any] = {}
    for key, value in section.items():
        if key not in fields:
            faults.append(f"{at}.{key} = {value!r}: not a key; known: {', '.join(sorted(fields))}")
            continue
        wrong = _fault(value, getattr(usual, key), fields[key].metadata)
        if wrong:
            faults.append(f"{at}.{key} = {value!r}: {wrong}")
        else:
            good[key] = tuple(value) if isinstance(value, list) else value
    made = dataclasses.replace(base, **good)
    for key, entry in fields.items():
        of = entry.metadata.get("params_of")
        if of is not None:
            module = plugins.load(fields[of].metadata["plugin"], getattr(made, of))
            faults += _params_faults(module.Params, getattr(made, key), f"{at}.{key}")
    return made


def _fault(value: Any, default: Any, metadata: Mapping[str, Any]) -> str | None:
    """Return what is allowed, if the value is not; None for a good one."""
    if "check" in metadata:
        wrong: str | None = metadata["check"](value)
        return wrong
    if "plugin" in metadata:
        known = plugins.names(metadata["plugin"])
        return None if value in known else f"one of {', '.join(known)}"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if "range" in metadata:
        least, most = metadata["range"]
        kind = int if isinstance(default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
            whole = "a whole number " if kind is int else ""
            return f"{whole}from {least:g} to {most:g}"
        return None
    if isinstance(default, tuple):
        good = isinstance(value, list) and all(
            isinstance(v, str) and re.match(r"/[^/\s]+/[^/\s]*\Z", v) for v in value
        )
        return None if good else 'a list of "/pkg.Service/Method" or "/pkg.Service/"'
    if isinstance(default, Mapping):
        return None if isinstance(value, Mapping) else "a table"
    return None if isinstance(value, str) and value else "a text that is not empty"


def _params_faults(kind: type, params: Mapping[str, Any], at: str) -> list[str]:
    known = {f.name for f in dataclasses.fields(kind)}
    faults = [
        f"{at}.{key} = {value!r}: not a key; known: {', '.join(sorted(known)) or 'none'}"
        for key, value in params.items()
        if key not in known
    ]
    return faults + [
        f"{at}.{key} = {value!r}: a finite number, 0 or more"
        for key, value in params.items()
        if key in known
        and (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 <= value < math.inf
        )
    ]


def _toml_table(name: str, settings: ControllerSettings | ServiceSettings) -> str:
    lines = [f"[{name}]"]
    for entry in dataclasses.fields(settings):
        value = getattr(settings, entry.name)
        lines.append(f"{entry.name} = {_toml(value)}  # {entry.metadata['help']}")
    return "\n".join(lines) + "\n"


def _toml_policy(service: str, policy: ScalePolicy) -> str:
    table = scale_settings.policy_table(policy)
    rules = table.pop("rules")
    lines = [f'[service."{service}".scale]']
    lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    for rule in rules:
        lines.append(f'[[service."{service}".scale.rules]]')
        lines += [f"{key} = {_toml(value)}" for key, value in rule.items() if value]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    return repr(value)
