"""``meshlb certs``: what it makes works, keys are secret, and nothing is overwritten unasked."""

import stat

import pytest

from meshlb import settings
from meshlb.cli.__main__ import main
from meshlb.security.client_tls import Tls
from meshlb.security.material import Files, read
from meshlb.v1 import balance_pb2
from tests.controller.conftest import load


def test_what_it_makes_works_from_end_to_end(secured, tmp_path, capsys):
    folder = tmp_path / "certs"
    assert main(["certs", str(folder), "--service", "s"]) == 0
    told = capsys.readouterr().out
    assert f"meshlb controller --config {folder}/meshlb.toml" in told
    read_back = settings.load(folder / "meshlb.toml")
    assert read_back.tls.client_ca == str(folder / "ca.pem")
    controller = secured({"controller": {"tls": {
        name: getattr(read_back.tls, name) for name in ("cert", "key", "client_ca")
    }}})  # fmt: skip

    def tls(name):
        return Tls(ca=folder / "ca.pem", cert=folder / f"{name}.pem", key=folder / f"{name}.key")

    next(controller.balance_of(tls("node")).ReportLoad(iter([load("n")])))
    request = balance_pb2.ListServicesRequest()
    for name in ("operator", "viewer"):
        assert controller.balance_of(tls(name)).ListServices(request).services
    subscribe = balance_pb2.Subscribe(service="s", client_id="c")
    watch = controller.open(controller.balance_of(tls("client")).WatchRoutes)
    watch.send(balance_pb2.WatchRoutesRequest(subscribe=subscribe))
    assert next(watch)


def test_keys_can_be_read_by_their_owner_only(tmp_path):
    assert main(["certs", str(tmp_path)]) == 0
    keys = sorted(tmp_path.glob("*.key"))
    assert len(keys) == 6
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_overwritten_unasked_and_the_authority_never(tmp_path, capsys):
    assert main(["certs", str(tmp_path)]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["certs", str(tmp_path)]) == 3
    assert "operator.key, viewer.pem" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert main(["certs", str(tmp_path), "--role", "node", "--name", "gpu-1"]) == 0
    assert main(["certs", str(tmp_path), "--force"]) == 0
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() - before.keys() == {"gpu-1.pem", "gpu-1.key"}
    same = {name for name in before if before[name] == after[name]}
    assert same == {"ca.pem", "ca.key", "meshlb.toml"}
    for name in ("node", "gpu-1"):
        pair = str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key")
        assert read(Files(str(tmp_path / "ca.pem"), *pair))


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (["--days", "0"], "--days = '0': a whole number from 1 to 3650"),
        (["--name", "x"], "--name = 'x': only together with --role"),
        (["--role", "node", "--name", "../x"], "--name = '../x': 1 to 128 characters"),
        (["--role", "node", "--name", "ca"], "--name = 'ca'"),
        (["--service", "a b"], "--service = 'a b'"),
        (["--service", "a", "--service", "b"], "--service: one"),
        (["--domain", "Ex/x"], "--domain = 'Ex/x'"),
        (["--host", "näme"], "--host = 'näme': a DNS name"),
        (["--host", "a.ex:7700"], "--host = 'a.ex:7700': a DNS name"),
        (["--host", ""], "--host = '': a DNS name"),
    ],
)
def test_what_it_is_told_wrongly(tmp_path, capsys, args, fault):
    assert main(["certs", str(tmp_path / "new"), *args]) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_authority_that_is_none(tmp_path, capsys):
    (tmp_path / "ca.pem").write_text("nothing")
    assert main(["certs", str(tmp_path)]) == 2
    assert "with both ca.pem and ca.key, or neither" in capsys.readouterr().err
    (tmp_path / "ca.key").write_text("nothing")
    assert main(["certs", str(tmp_path)]) == 2
    assert "authority: a certificate and its key in PEM" in capsys.readouterr().err
