"""What a failed handshake is called, for each way it can fail: real servers on loopback."""

from concurrent import futures

import grpc
import pytest

import meshlb
from meshlb.cli.__main__ import main
from meshlb.security import diagnose
from meshlb.security.hints import hint
from meshlb.security.material import Files
from meshlb.security.server_tls import ServerTls
from tests.security.pki import HOSTS


@pytest.fixture
def serve():
    """Return a function that starts a server with these files, or in plain text."""
    servers = []

    def start(files=None):
        server = grpc.server(futures.ThreadPoolExecutor(1))
        servers.append(server)
        if files is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = ServerTls(files, print).credentials()
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait(60)


@pytest.fixture
def ours(pki):
    return pki.write("ours", "spiffe://test.local/meshlb/operator")


@pytest.fixture
def server_files(pki):
    return pki.write("diagnosed", None, HOSTS)


def test_all_in_order(serve, server_files, ours):
    assert diagnose.why(serve(server_files), ours) is None
    assert diagnose.why(serve(), None) is None


def test_the_server_refuses_us(serve, server_files, pki, other_pki):
    address = serve(server_files)
    ca = str(pki.ca)
    none = diagnose.why(address, Files(ca))
    assert "asks for a client certificate, and we show none: use --cert and --key" in none
    strange = other_pki.write("strange")
    told = diagnose.why(address, Files(ca, strange.cert, strange.key))
    assert f"refuses our certificate {strange.cert}: it is signed by an authority" in told
    assert "(other-ca)" in told
    assert "client_ca" in told
    expired = pki.write("expired", days=-1)
    told = diagnose.why(address, expired)
    assert f"refuses our certificate {expired.cert}, which has expired (" in told
    assert "meshlb certs --force" in told


def test_we_refuse_the_server(serve, server_files, pki, other_pki, ours):
    address = serve(server_files)
    told = diagnose.why(address, Files(str(other_pki.ca), ours.cert, ours.key))
    assert f"not signed by an authority in {other_pki.ca}" in told
    assert "use the --ca that signed it" in told
    told = diagnose.why(address, ours, "model.test")
    assert "not for 'model.test': its names are localhost, 127.0.0.1" in told
    told = diagnose.why(serve(pki.write("old-server", None, HOSTS, days=-1)), ours)
    assert "the server's certificate has expired (" in told


def test_one_side_speaks_plain_text(serve, server_files, ours):
    assert "speaks plain text, and we speak TLS" in diagnose.why(serve(), ours)
    assert "speaks TLS, and we speak plain text: use --ca" in diagnose.why(
        serve(server_files), None
    )


def test_what_is_not_there_is_left_to_grpc_to_say(ours):
    assert diagnose.why("127.0.0.1:1", ours) is None
    assert diagnose.why("nonsense", ours) is None


@pytest.mark.parametrize(
    ("details", "meaning"),
    [
        ("x CERTIFICATE_VERIFY_FAILED: certificate has expired", "has expired"),
        ("CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate", "not in `ca`"),
        ("Peer name a is not in peer certificate", "--authority"),
        ("SSL_ERROR_SSL: WRONG_VERSION_NUMBER", "plain text"),
        ("Tls handshake failed (TSI_PROTOCOL_FAILURE)", "both sides"),
        ("failed to connect to all addresses; last error: x: Socket closed", "hangs up"),
        ("Socket closed", ""),
        ("Connection refused", ""),
        (None, ""),
    ],
)
def test_hints_from_words_alone(details, meaning):
    found = hint(details)
    assert meaning in found
    assert bool(found) == bool(meaning)


def run(capsys, *args):
    code = main(list(args))
    return code, capsys.readouterr()


def flags(files):
    return ["--ca", files.ca, "--cert", files.cert, "--key", files.key]


def test_commands_speak_tls_and_say_what_is_wrong(secured, pki, other_pki, ours, capsys):
    controller = secured({"controller": pki.controller()})
    at = ["--controller", controller.address]
    code, told = run(capsys, "services", *at, *flags(ours))
    assert (code, told.err) == (0, "")
    viewer = pki.write("viewer-cli", "spiffe://test.local/meshlb/viewer")
    code, told = run(capsys, "scale", "pause", "s", *at, *flags(viewer))
    assert code == 3
    assert "has the role viewer, and only the role operator may change scale" in told.err
    code, told = run(capsys, "services", *at)
    assert code == 1
    assert "the server there speaks TLS, and we speak plain text: use --ca" in told.err
    strange = other_pki.write("strange-cli", "spiffe://test.local/meshlb/operator")
    code, told = run(capsys, "nodes", *at, *flags(Files(str(pki.ca), strange.cert, strange.key)))
    assert code == 1
    assert "signed by an authority that the server does not know (other-ca)" in told.err
    code, told = run(capsys, "services", *at, "--ca", ours.ca, "--cert", ours.cert)
    assert code == 2
    assert "key = '': a file, since cert is given" in told.err
    code, told = run(capsys, "services", *at, *flags(ours))
    assert "refused   1 x PauseScale: NOT_ALLOWED" in told.out
    assert "(spiffe://test.local/meshlb/viewer)" in told.out


def test_commands_take_files_from_the_environment(secured, pki, ours, capsys, monkeypatch):
    controller = secured({"controller": pki.controller()})
    for name in ("ca", "cert", "key"):
        monkeypatch.setenv(f"MESHLB_{name.upper()}", getattr(ours, name))
    code, told = run(capsys, "services", "--controller", controller.address)
    assert (code, told.err) == (0, "")


def test_a_client_says_why_no_controller_takes_it(secured, pki, other_pki):
    controller = secured({"controller": pki.controller()})
    strange = other_pki.write("strange-client", "spiffe://test.local/meshlb/client")
    cases = {
        "signed by an authority that the server does not know": meshlb.tls(
            ca=pki.ca, cert=strange.cert, key=strange.key
        ),
        "we speak plain text": None,
        "has the role node, and only the role client may": pki.tls("node"),
    }
    for said, tls in cases.items():
        options = [("meshlb.controller_credentials", tls)]
        target = f"mesh://{controller.address}/s"
        with meshlb.insecure_channel(target, options=options) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/t.T/Echo")(b"", timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert said in caught.value.details()
