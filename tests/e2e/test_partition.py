"""A real network that loses all packets to one server: no idempotent call is lost, and it heals."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APART = ("unshare", "--user", "--map-root-user", "--net")


def namespaces():
    """Whether this machine lets us make networks of our own."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    pair = ("ip", "link", "add", "here", "type", "veth", "peer", "name", "there")
    return subprocess.run([*APART, *pair], capture_output=True, check=False).returncode == 0


@pytest.mark.processes
@pytest.mark.timeout(400)
@pytest.mark.skipif(not namespaces(), reason="no network namespaces here")
def test_a_network_that_loses_everything_costs_no_idempotent_call():
    done = subprocess.run(
        [*APART, sys.executable, "-m", "tests.e2e.partitioned"],
        cwd=ROOT, capture_output=True, text=True, timeout=350, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["problems"] == []
    assert found["calls"] > 400
