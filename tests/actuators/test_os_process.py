"""Processes by name: which is which, and when one has really ended."""

import os
import signal
import subprocess
import sys

import pytest

from meshlb import os_process
from meshlb.errors import InvalidInputError
from meshlb.os_process import ProcessName
from tests.waiting import until

# Its first thread ends at once; the other one runs on, and reads its environment from nowhere.
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.fixture
def start():
    begun = []

    def begin(*command, token=None):
        env = {**os.environ, **({os_process.TOKEN: token} if token else {})}
        begun.append(subprocess.Popen(command, env=env, start_new_session=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def test_a_process_is_known_until_its_end(start):
    process = start("sleep", "1000", token="t1")
    name = os_process.name_of(process.pid)
    assert os_process.lives(name)
    assert os_process.is_ours(name, "t1")
    assert not os_process.is_ours(name, "t2")
    assert os_process.carriers({"t1", "t2"}) == {"t1": [name]}
    assert ProcessName.from_json(name.to_json()) == name
    assert os_process.send(name, signal.SIGKILL)
    until(lambda: not os_process.lives(name))  # not waited for yet, and ended all the same
    assert not os_process.send(name, signal.SIGKILL)
    assert os_process.members(name, "t1", process.pid) == []


@pytest.mark.parametrize("other", [{"started_s": 1.0}, {"boot": "another"}])
def test_another_start_or_boot_is_another_process(start, other):
    process = start("sleep", "1000")
    name = ProcessName.from_json(os_process.name_of(process.pid).to_json() | other)
    assert not os_process.lives(name)
    assert not os_process.send(name, signal.SIGKILL)
    assert process.poll() is None


def test_one_whose_first_thread_has_ended_still_runs(start):
    process = start(sys.executable, "-c", HEADLESS, token="t3")
    name = until(lambda: os_process.name_of(process.pid))
    until(lambda: os_process.psutil.Process(process.pid).status() == "zombie")
    assert os_process.lives(name)
    assert os_process.send(name, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL


@pytest.mark.parametrize("raw", [{}, {"pid": 0, "started_s": 1, "boot": ""},
                                 {"pid": "1", "started_s": 1, "boot": ""},
                                 {"pid": True, "started_s": 1, "boot": ""},
                                 {"pid": 1, "started_s": None, "boot": ""}])  # fmt: skip
def test_what_is_no_name_is_refused(raw):
    with pytest.raises(InvalidInputError, match="process = "):
        ProcessName.from_json(raw)
