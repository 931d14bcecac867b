"""Every benchmark runs from start to end, tiny, and reports what it is for. No speed asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = pytest.mark.timeout(400)  # a busy machine starts so many processes slowly


@pytest.fixture
def figures(tmp_path):
    """Return a function that runs a benchmark and gives its output and its JSON."""

    def run(script, *arguments):
        found = tmp_path / "found.json"
        process = subprocess.Popen(
            [sys.executable, BENCHMARKS / script, "--quick", "--json", found, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            text, _ = process.communicate(timeout=300)
        finally:
            process.terminate()  # it then stops all that it started
            process.wait(60)
        assert process.returncode == 0, text
        return text, json.loads(found.read_text())

    return run


def test_tail_counts_every_planned_call_of_each_contender(figures):
    text, found = figures("tail.py", "--contenders", "ideal", "meshlb", "--pickers", "round_robin")
    assert "cores of" in text
    contenders = found["runs"][0]["contenders"]
    assert list(contenders) == ["ideal", "meshlb", "round_robin"]
    assert len({one["calls"] for one in contenders.values()}) == 1
    for one in contenders.values():
        assert (one["calls"] > 20, one["failed"]) == (True, 0), one
        assert 0 < one["p50_ms"] <= one["p99_ms"]


def test_overhead_measures_both_worlds_beside_raw_channels(figures):
    text, found = figures("overhead.py")
    for kind in ("sync", "asyncio"):
        assert found[kind]["raw_us"] > 0
        assert set(found[kind]) >= {"raw again", "wrapper", "meshlb"}
        assert found[kind]["meshlb"]["throughput_ratio"] > 0
    assert "expected_delay (default)" in text
    assert found["pick"]["begin and end"]["64"] > 0


def test_control_plane_sees_changes_arrive_at_every_client(figures):
    _, found = figures("control_plane.py")
    (one,) = found["runs"]
    assert one["calling"]
    assert one["streams_ended"] == 0
    assert one["reports_per_s"] > 0
    assert one["shares_per_s"] > 0
    assert one["controller_rss_mb"] > one["controller_uss_mb"] > 0


def test_footprint_counts_the_reports_and_looks_at_every_process(figures):
    _, found = figures("footprint.py")
    assert found["with_orca_per_s"] > 0
    for name in ("sidecar", "plain gRPC client", "client", "client, others call"):
        assert found[name]["rss_mb"] > found[name]["uss_mb"] > 1


def test_scale_in_takes_nodes_away_and_checks_every_stream(figures):
    text, found = figures("scale_in.py")
    assert found["scale_ins"] >= 1
    assert found["stops_after_drain"] >= found["scale_ins"]
    for kind in ("threads", "asyncio", "stock"):
        assert found["callers"][kind]["broken"] == 0, text


def test_faults_counts_the_calls_of_the_calm_and_of_the_faults_phase(figures):
    _, found = figures("faults.py", "--faults", "kill", "--contenders", "meshlb, idempotent")
    one = found["faults"]["kill"]["meshlb, idempotent"]
    assert one["calls"] > 400
    assert one["calm_p99_ms"] >= 40  # what its servers take
    assert one["failed"] < one["calls"] / 2, one["most_failed_of"]


def test_the_simulator_is_held_against_the_same_calls_on_real_processes(figures):
    text, found = figures("validate_simulator.py")
    for kind in ("fixed", "scaled"):
        real, simulated = found[kind]["real"], found[kind]["simulated"]
        assert real["failed"] == 0, text
        assert {real["calls"]} == {one["calls"] for one in simulated}
        for one in (real, *simulated):
            assert 0 < one["p50_ms"] <= one["p99_ms"]
            assert 0 <= one["attainment"] <= 1
            assert one["node_seconds"] > 0
