"""TLS to nodes and controllers, with a certificate for "localhost" that serves tests only."""

import pathlib

import grpc
import pytest

import meshlb
from meshlb.model import TableNode

HERE = pathlib.Path(__file__).parent
CERT = (HERE / "localhost_cert.pem").read_bytes()
KEY = (HERE / "localhost_key.pem").read_bytes()
SERVER = grpc.ssl_server_credentials([(KEY, CERT)])
CLIENT = grpc.ssl_channel_credentials(CERT)


def secure_node(world):
    node = world.add_node(credentials=SERVER)
    return TableNode("a", 1, node.info.address, authority="localhost")


def echo(channel, **how):
    return channel.unary_unary("/t.T/Echo")(b"1", timeout=60, **how)


def test_credentials_are_for_nodes_and_controllers_alike(world):
    controller = world.add_controller(credentials=SERVER)
    controller.push(secure_node(world))
    with meshlb.secure_channel(world.target(controller), CLIENT) as channel:
        assert echo(channel) == b"1"
        assert list(channel.unary_stream("/t.T/Count")(b"2", timeout=60)) == [b"0", b"1"]


def test_the_controller_can_have_its_own_or_none(world):
    node = secure_node(world)
    world.controller.push(node)
    options = [("meshlb.controller_credentials", None)]
    with meshlb.secure_channel(world.target(), CLIENT, options=options) as channel:
        assert echo(channel) == b"1"
    secure = world.add_controller(credentials=SERVER)
    plain = world.add_node("plain")
    secure.push(plain)
    options = [("meshlb.controller_credentials", CLIENT)]
    with meshlb.insecure_channel(world.target(secure), options=options) as channel:
        assert echo(channel) == b"1"


def test_call_credentials_reach_the_node(world):
    node = world.add_node(credentials=SERVER)
    world.controller.push(TableNode("a", 1, node.info.address, authority="localhost"))
    options = [("meshlb.controller_credentials", None)]
    with meshlb.secure_channel(world.target(), CLIENT, options=options) as channel:
        credentials = grpc.access_token_call_credentials("secret")
        assert echo(channel, credentials=credentials) == b"1"
        assert node.metadata[-1]["authorization"] == "Bearer secret"


def test_a_node_of_another_name_is_refused_and_the_error_says_so(world):
    node = world.add_node(credentials=SERVER)
    world.controller.push(TableNode("a", 1, node.info.address, authority="elsewhere"))
    options = [("meshlb.controller_credentials", None)]
    with meshlb.secure_channel(world.target(), CLIENT, options=options) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            echo(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "elsewhere" in caught.value.details()
        assert node.calls == []


def test_the_authority_of_a_node_is_sent_without_tls_too(world):
    node = world.add_node()
    world.controller.push(TableNode("a", 1, node.info.address, authority="model.internal"))
    seen = []
    node.hook = lambda method, context: seen.append(context._rpc_event.call_details.host)
    channel = world.channel()
    assert echo(channel) == b"1"
    assert seen == [b"model.internal"]
