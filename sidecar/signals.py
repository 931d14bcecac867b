"""What the probes found, made into one report: pure, so that no probe can spoil a report.

A controller refuses a report with one wrong figure as a whole, so figures are checked here, by the
same rules; a probe whose figures are wrong is left out, and its fields stay unknown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from meshlb import wire
from meshlb.model import LoadReport, NodeInfo
from meshlb.v1 import load_pb2

Found: TypeAlias = Mapping[str, Any]
"""Fields of ``model.LoadReport`` that one probe knows; besides them ``slots``, see below."""


def merged(
    info: NodeInfo, found: Mapping[str, Found], observe_time_s: float
) -> tuple[load_pb2.LoadReport, dict[str, str]]:
    """Return the report of what probes found, by probe, and why some of them were left out.

    Probes are taken in order; of two that know the same field the later one is believed.
    ``slots`` fills in what the operator did not declare.
    """
    try:
        return _report(info, list(found.values()), observe_time_s), {}
    except Exception:
        problems = {}
        for name, fields in found.items():
            try:
                _report(info, [fields], observe_time_s)
            except Exception as error:
                problems[name] = str(error)
        right = [fields for name, fields in found.items() if name not in problems]
        return _report(info, right, observe_time_s), problems


def _report(info: NodeInfo, found: list[Found], observe_time_s: float) -> load_pb2.LoadReport:
    fields = {name: value for one in found for name, value in one.items()}
    slots = fields.pop("slots", None)
    if info.slots is None and slots is not None:
        info = dataclasses.replace(info, slots=slots)
    message = wire.load_report_to_pb(LoadReport(node=info, observe_time_s=observe_time_s, **fields))
    wire.load_report_from_pb(message)
    return message
