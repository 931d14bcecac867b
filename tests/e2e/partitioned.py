"""Run by test_partition.py in a network namespace of its own: a caller, and servers in others.

A controller and the sidecars are on the caller's side. The network to one server is cut so that all
packets are lost and nobody is told, and joined again. Prints what became of the calls as JSON.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import meshlb
from tests.e2e.conftest import PLAIN_SERVER, Processes

SERVERS = 3
CONFIG = json.dumps({"methodConfig": [{"name": [{"service": "plain.Plain"}], "idempotent": True}]})
LIMIT_S = 60


def sh(*command):
    subprocess.run([str(word) for word in command], check=True, timeout=LIMIT_S)


class Network:
    """A server in a namespace of its own, and the pair of devices that leads there."""

    def __init__(self, processes, number):
        self.address = f"10.77.{number}.2:9000"
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        here = f"here{number}"
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self.holder.pid}/ns/net").readlink() == own:
            time.sleep(0.01)
        sh("ip", "link", "add", here, "type", "veth", "peer", "name", "there")
        sh("ip", "link", "set", "there", "netns", self.holder.pid)
        sh("ip", "addr", "add", f"10.77.{number}.1/24", "dev", here)
        sh("ip", "link", "set", here, "up")
        self.inside("ip", "addr", "add", f"10.77.{number}.2/24", "dev", "there")
        self.join()
        server = PLAIN_SERVER.replace("127.0.0.1:0", self.address)
        self.server = subprocess.Popen(
            ["nsenter", "-t", str(self.holder.pid), "-n", sys.executable, "-c", server,
             f"s{number}", "0.002", "64"], stdout=subprocess.DEVNULL,
        )  # fmt: skip
        processes.running += [self.server, self.holder]

    def inside(self, *command):
        sh("nsenter", "-t", self.holder.pid, "-n", *command)

    def cut(self):
        """Take the far end down: what is sent from here is lost without a word."""
        self.inside("ip", "link", "set", "there", "down")

    def join(self):
        self.inside("ip", "link", "set", "there", "up")


class Calls:
    """Calls over one stub from several threads, until it is closed."""

    def __init__(self, target):
        self.channel = meshlb.insecure_channel(target, [("grpc.service_config", CONFIG)])
        self.answers = []
        self.problems = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def _run(self):
        ask = self.channel.unary_unary("/plain.Plain/Ask")
        while not self._over.wait(0.01):
            try:
                self.answers.append(ask(b"", timeout=LIMIT_S).decode())
            except Exception as error:
                self.problems.append(repr(error)[:500])

    def until(self, what, true):
        """Wait until what was answered since now holds; note it if it never does."""
        since, give_up = len(self.answers), time.monotonic() + LIMIT_S
        while not true(self.answers[since:]):
            if time.monotonic() > give_up:
                self.problems.append(f"never: {what}")
                return
            time.sleep(0.02)

    def close(self):
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.channel.close()


def everybody(answers):
    return len(set(answers)) == SERVERS


def main():
    sh("ip", "link", "set", "lo", "up")
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder))
        try:
            networks = [Network(processes, number) for number in range(SERVERS)]
            controller = processes.controller()
            for network in networks:
                processes.start(
                    "-m", "sidecar", "--controller", controller.address, "--service", "plain",
                    "--node", network.address,
                )  # fmt: skip
            calls = Calls(f"mesh://{controller.address}/plain")
            calls.start()
            # An attempt has a time limit once enough calls have told how long they take.
            calls.until("all are called", lambda answers: everybody(answers) and len(answers) > 200)
            networks[0].cut()
            calls.until("the others answer", lambda answers: answers[-200:].count("s0") == 0
                        and len(answers) > 400)  # fmt: skip
            networks[0].join()
            calls.until("it is called again", everybody)
            calls.close()
            found = {"calls": len(calls.answers), "problems": calls.problems}
            sys.stdout.write(json.dumps(found) + "\n")
        finally:
            processes.stop()


if __name__ == "__main__":
    main()
