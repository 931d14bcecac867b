"""A run of everything with tokens and certificates, at debug level: no secret is in any log."""

import hashlib
import json

import pytest

from meshlb.cli.__main__ import main
from tests.security.pki import Pki
from tests.waiting import until

TOKENS = {"node": "a-secret-of-the-node-0123", "operator": "a-secret-of-ann-456789"}
WRONG = "a-secret-that-nobody-knows-1"


@pytest.fixture
def config(tmp_path):
    """A configuration with mTLS, and a port for tokens."""
    entries = [
        f'[token.{role}]\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
        f'roles = ["{role}"]\n'
        for role, token in TOKENS.items()
    ]
    (tmp_path / "tokens.toml").write_text("".join(entries))
    for name, token in (*TOKENS.items(), ("wrong", WRONG)):
        (tmp_path / name).write_text(token)
    pki = Pki(tmp_path)
    files = pki.write("controller", None, ("localhost", "127.0.0.1"))
    path = tmp_path / "meshlb.toml"
    path.write_text(
        f"[controller.tls]\ncert = {json.dumps(files.cert)}\nkey = {json.dumps(files.key)}\n"
        f"[access]\ntokens = {json.dumps(str(tmp_path / 'tokens.toml'))}\n"
    )
    return path


def test_nothing_secret_is_logged(processes, config, tmp_path, capsys):
    controller = processes.controller(
        "127.0.0.1:0", "--config", config, "--log-level", "debug", limit_s=120
    )
    tls = ["--ca", str(tmp_path / "ca.pem")]

    def run(token, *command):
        files = [*tls, "--token-file", str(tmp_path / token)]
        code = main([*command, "--controller", controller.address, *files])
        return code, capsys.readouterr()

    sidecar = processes.sidecar(
        controller.address, processes.server(), "plain", *tls,
        "--token-file", tmp_path / "node", "--log-level", "debug",
    )  # fmt: skip
    until(lambda: "plain" in run("operator", "nodes")[1].out, "the node joins")
    assert run("operator", "scale", "pause", "plain")[0] == 0
    code, told = run("wrong", "scale", "pause", "plain")
    assert code == 3
    assert "the token is none of this controller's" in told.err
    code, told = run("node", "scale", "pause", "plain")
    assert code == 3
    assert "token node has the role node" in told.err
    _, told = run("operator", "services")
    assert "refused   1 x PauseScale: UNAUTHENTICATED" in told.out
    logs = controller.log.read_text() + sidecar.log.read_text() + told.out + told.err
    lines = [json.loads(line) for line in controller.log.read_text().splitlines() if line[0] == "{"]
    (audit,) = [line for line in lines if line["event"] == "audit"]
    assert (audit["who"], audit["call"]) == ("token operator", "PauseScale")
    digests = [hashlib.sha256(token.encode()).hexdigest() for token in (*TOKENS.values(), WRONG)]
    for secret in (*TOKENS.values(), WRONG, *digests, "PRIVATE KEY", "Bearer"):
        assert secret not in logs
