"""The chaos run in short, its plan always the same: nothing that could succeed is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.processes
@pytest.mark.timeout(500)  # a busy machine starts so many processes slowly
def test_no_call_that_could_succeed_is_lost(tmp_path):
    found = tmp_path / "found.json"
    process = subprocess.Popen(
        [sys.executable, BENCHMARKS / "chaos.py", "--quick", "--seed", "9", "--json", found],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        text, _ = process.communicate(timeout=450)
    finally:
        process.terminate()  # it then stops all that it started
        process.wait(60)
    assert process.returncode == 0, text
    for tally in json.loads(found.read_text())["callers"].values():
        assert (tally["lost"], tally["problems"]) == (0, []), text
        assert min(tally["unary"], tally["streams"]) > 0
