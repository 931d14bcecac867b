"""The controller's configuration for the act: what a user would write, with shorter windows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from examples.demo.processes import ROOT
from examples.demo.scaling.profile import MOST_NODES, NODE_TARGET, SLOTS, SPEED

SERVICE = "model"
GRACE_S = 3.0


def text(calm_s: float, logs: Path) -> str:
    """Return meshlb.toml; ``calm_s``: the policy's stable window."""
    command = [sys.executable, "-m", "examples.modelserver", "--listen", "{address}"]
    command += ["--name", "{node_id}", "--speed", f"{SPEED:g}", "--slots", "{slots}"]
    return f"""\
[service.{SERVICE}.scale]
min = 1
max = {MOST_NODES}
stable_window_s = {calm_s:g}
panic_window_s = {calm_s / 2:g}
scale_in_window_s = {2.5 * calm_s:g}
rate_period_s = {max(1.0, calm_s):g}

[[service.{SERVICE}.scale.rules]]
kind = "reserve"
signal = "in_flight"
target = {NODE_TARGET}

[service.{SERVICE}.actuator]
kind = "process"
command = {json.dumps(command)}
slots = {SLOTS}
grace_s = {GRACE_S:g}
cwd = {json.dumps(str(ROOT))}
log_dir = {json.dumps(str(logs))}
"""
