"""Forecasts: from a past of one value a minute, in a process of their own."""

import asyncio
import math

import pytest

from meshlb import settings
from meshlb.controller import forecasting
from meshlb.controller.forecasting import Forecasting, Series
from meshlb.controller.intent import Intent, Learned
from meshlb.controller.service_scaling import ServiceScaling
from meshlb.errors import MeshlbError, MissingExtraError
from meshlb.scale_model import RuleSpec, ScalePolicy
from meshlb.v1 import scale_pb2
from tests.waiting import until

COMES_NEXT = (
    ([1.0] * 5, None, None),
    ([4.0] * 60, 3.9, 4.1),
    ([float(n) for n in range(60)], 59.5, 63),
    ([10 + 5 * math.sin(2 * math.pi * n / 1440) for n in range(2 * 1440 + 360)], 14.5, 15.5),
)


@pytest.mark.timeout(400)
def test_what_comes_next(monkeypatch):
    pytest.importorskip("statsmodels")
    monkeypatch.setattr(forecasting, "LIMIT_S", 300.0)  # its libraries take long to load

    async def run():
        made = Forecasting(None, lambda: ())
        try:
            return [await made.forecast(values, 2) for values, _, _ in COMES_NEXT]
        finally:
            await made.close()

    for found, (_, least, most) in zip(asyncio.run(run()), COMES_NEXT, strict=True):
        assert found is None if least is None else least <= found <= most


def test_minutes_are_means_and_gaps_are_filled():
    series = Series()
    for value, at in ((1, 0), (3, 30), (5, 60), (7, 240), (9, 300)):
        series.add(value, at)

    assert series.values == [2, 5, 5, 5, 7]


@pytest.mark.parametrize(
    ("program", "kind", "text"),
    [
        ("import sys; sys.stdin.readline(); print('{\"missing\": true}')", MissingExtraError,
         "meshlb"),
        ("import sys; sys.stdin.readline(); print('{\"error\": \"why\"}')", MeshlbError, "why"),
        ("print('rubbish')", MeshlbError, "process failed"),
        ("", MeshlbError, "process failed"),
        ("import time; time.sleep(60)", MeshlbError, "process failed"),
    ],
)  # fmt: skip
def test_a_forecaster_that_fails_is_an_error_and_no_more(monkeypatch, program, kind, text):
    start = asyncio.create_subprocess_exec

    async def other(python, *_, **named):
        return await start(python, "-c", program, **named)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", other)
    monkeypatch.setattr(forecasting, "LIMIT_S", 30.0 if program and "sleep" not in program else 1.0)

    async def run():
        made = Forecasting(None, lambda: ())
        with pytest.raises(kind, match=text):
            await made.forecast([1.0], 1)
        await made.close()

    asyncio.run(run())


def test_a_service_without_the_library_says_so_and_is_scaled_all_the_same(running, monkeypatch):
    async def missing(*_):
        raise MissingExtraError("forecasts need the package statsmodels")

    monkeypatch.setattr(Forecasting, "forecast", missing)
    scale = {"min": 2, "rules": [{"kind": "forecast"}, {"kind": "group", "target": 4}]}
    controller = running(settings.parse({"service": {"s": {"scale": scale}}}))
    request = scale_pb2.GetScaleRequest(service="s")

    def told():
        found = controller.scale.GetScale(request, timeout=60).scale
        return found if found.problem and found.HasField("target_count") else None

    found = until(told)
    assert "statsmodels" in found.problem
    assert found.target_count == 2


def test_a_forecast_that_cannot_be_had_is_logged_once_and_told_all_the_while(monkeypatch):
    lines = []

    class Said:
        def warning(self, event, **fields):
            lines.append((event, fields["problem"]))

    monkeypatch.setattr(forecasting, "log", Said())
    policy = ScalePolicy("s", rules=(RuleSpec("forecast"),))
    scaling = ServiceScaling("s", policy, "", Intent(), Learned(), 0.0)
    made = Forecasting(None, lambda: (scaling,))
    made._series["s", "in_flight"] = Series()
    problems = ["no library", "no library", "no memory"]
    seen = []

    async def missing(*_):
        seen.append(scaling.forecast_problem)
        raise MissingExtraError(problems[len(seen) - 1])

    monkeypatch.setattr(made, "forecast", missing)
    for _ in problems:
        asyncio.run(made._one(scaling))
    assert seen == ["", "no library", "no library"]
    assert lines == [("no_forecast", "no library"), ("no_forecast", "no memory")]


def test_what_nobody_expected_costs_one_service_its_forecast_and_no_more():
    policy = ScalePolicy("s", rules=(RuleSpec("forecast"),))
    scaling = ServiceScaling("s", policy, "", Intent(), Learned(), 0.0)

    class Broken:
        async def decisions(self, *_, **__):
            raise ZeroDivisionError("of all things")

    asyncio.run(Forecasting(Broken(), lambda: (scaling,))._one(scaling))
    assert "of all things" in scaling.forecast_problem
