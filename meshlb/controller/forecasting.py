"""What the load will be one start-up time from now, for services that have a ``forecast`` rule.

Beside the loop, once a minute: the values of the last week, one a minute, go to a process of their
own (``forecast_model``), and what it says is an input of the next decisions. They are taken from
the record of decisions after a start. Without a forecast the rule says nothing, so that all that
goes wrong here costs is the forecast.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from meshlb.controller.service_scaling import ServiceScaling
from meshlb.controller.store import Store
from meshlb.errors import InvalidInputError, MeshlbError, MissingExtraError
from meshlb.policy import scale_record

log = structlog.get_logger()
RULE = "forecast"
DEFAULT_SIGNAL = "in_flight"
PERIOD_S = 60.0
KEEP = 7 * 1440
"""Values kept, one a minute."""
DEFAULT_AHEAD_S = 60.0
"""While no start-up time is measured."""
LIMIT_S = 45.0
MOST_RECORDED = 10_000


class Series:
    """One signal of one service: the mean of each minute, gaps filled with the last before."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._minute: int | None = None
        self._sum, self._count = 0.0, 0

    def add(self, value: float, unix_now: float) -> None:
        """Take one value in."""
        minute = math.floor(unix_now / 60.0)
        if self._minute is not None and minute > self._minute and self._count:
            gap = min(KEEP, minute - self._minute)
            self.values += [self._sum / self._count] * gap
            del self.values[:-KEEP]
            self._sum, self._count = 0.0, 0
        if self._minute is None or minute > self._minute:
            self._minute = minute
        self._sum += value
        self._count += 1


class Forecasting:
    """All forecasts of one controller."""

    def __init__(self, store: Store, services: Callable[[], Iterable[ServiceScaling]]) -> None:
        self._store = store
        self._services = services
        self._series: dict[tuple[str, str], Series] = {}
        self._process: asyncio.subprocess.Process | None = None

    def observe(self, scaling: ServiceScaling, unix_now: float) -> None:
        """Take in what a service's signals are at this tick, where it has the rule."""
        for signal in signals(scaling):
            series = self._series.get((scaling.name, signal))
            reading = None if scaling.sample is None else scaling.sample.readings.get(signal)
            if series is not None and reading is not None and reading.total is not None:
                series.add(reading.total, unix_now)

    async def run(self) -> None:
        """Forecast until cancelled."""
        try:
            while True:
                for scaling in list(self._services()):
                    await self._one(scaling)
                await asyncio.sleep(PERIOD_S)
        finally:
            await self.close()

    async def _one(self, scaling: ServiceScaling) -> None:
        found: dict[str, float] = {}
        problem = ""
        for signal in signals(scaling):
            key = scaling.name, signal
            try:
                if key not in self._series:
                    self._series[key] = await self._recorded(*key)
                ahead_s = scaling.start_up_s or DEFAULT_AHEAD_S
                values = self._series[key].values
                expected = await self.forecast(values, math.ceil(ahead_s / 60.0))
            except MeshlbError as error:
                problem = str(error)
                continue
            except Exception as error:  # else no service would ever have a forecast again
                problem = f"the forecast failed: {error!r}"
                continue
            if expected is not None:
                found[signal] = expected
        if problem and problem != scaling.forecast_problem:
            log.warning("no_forecast", service=scaling.name, problem=problem)
        scaling.forecast_problem = problem
        if scaling.scaler is not None:
            scaling.scaler.forecast = found

    async def _recorded(self, service: str, signal: str) -> Series:
        """Return the past as far as decisions tell it."""
        now = time.time()
        found = await self._store.decisions(
            service, now - KEEP * 60.0, now, MOST_RECORDED, changes_only=False
        )
        return await asyncio.to_thread(_series_of, [one.record_json for one in found], signal)

    async def forecast(self, values: list[float], steps: int) -> float | None:
        """Return what the model expects ``steps`` minutes ahead; None: too little is known.

        Raises MissingExtraError, or MeshlbError if the process fails or takes too long.
        """
        answer = await self._ask({"values": values, "steps": steps})
        if answer.get("missing"):
            raise MissingExtraError(
                "forecasts need the package statsmodels: pip install 'meshlb[forecast]'"
            )
        if "error" in answer:
            raise MeshlbError(f"the forecast failed: {answer['error']}")
        expected = answer["forecast"]
        return None if expected is None else float(expected)

    async def _ask(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(LIMIT_S):
                process = self._process
                if process is None or process.returncode is not None:
                    process = self._process = await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "meshlb.controller.forecast_model",
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                        stderr=asyncio.subprocess.DEVNULL,
                    )  # fmt: skip
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(asked).encode() + b"\n")
                await process.stdin.drain()
                answer: Mapping[str, Any] = json.loads(await process.stdout.readline())
                return answer
        except (TimeoutError, OSError, ValueError) as error:
            await self.close()
            raise MeshlbError(f"the forecaster's process failed: {error!r}") from error

    async def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()  # closes its pipes, and waits for its end


def signals(scaling: ServiceScaling) -> set[str]:
    """Return the signals that a service's rules want forecast."""
    policy = scaling.policy
    rules = () if policy is None else policy.rules
    return {str(r.params.get("signal", DEFAULT_SIGNAL)) for r in rules if r.kind == RULE}


def _series_of(records: list[str], signal: str) -> Series:
    series = Series()
    for record in reversed(records):
        with contextlib.suppress(InvalidInputError):  # of an older version
            inputs = scale_record.from_json(record).inputs
            seen = inputs.signals.get(signal)
            if seen is not None and seen.last is not None:
                series.add(seen.last, inputs.now)
    return series
