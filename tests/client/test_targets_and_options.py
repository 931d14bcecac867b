import json

import grpc
import pytest

import meshlb
from meshlb.client import options, target
from meshlb.errors import InvalidInputError

RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "aborted"],
}


def config(**entry):
    return [("grpc.service_config", json.dumps({"methodConfig": [entry]}))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mesh:/x", "mesh:/x"),
        ("", "mesh://HOST:PORT"),
        (None, "None"),
        (7, "7"),
        ("dns:///a:1", "dns:///a:1"),
        ("mesh://h:1", "service"),
        ("mesh://h:1/", "service"),
        ("mesh://h:1/a/b", "a/b"),
        ("mesh://h:1/a b", "a b"),
        ("mesh:///llama", "controller ''"),
        ("mesh://h/llama", "controller 'h'"),
        ("mesh://h:0/llama", "from 1 to 65535"),
        ("mesh://h:65536/llama", "from 1 to 65535"),
        ("mesh://h:x/llama", "h:x"),
        ("mesh://h:1,/llama", "controller ''"),
        ("mesh://h:1,h:1/llama", "twice"),
        ("mesh://::1:1/llama", "IPV6"),
        ("mesh://user@h:1/llama", "user@h:1"),
    ],
)
def test_a_malformed_target_is_refused_at_once_with_field_value_and_shape(text, says):
    with pytest.raises(InvalidInputError, match="target = ") as caught:
        meshlb.insecure_channel(text)
    assert says in str(caught.value)


def test_all_faults_of_a_target_are_told_at_once():
    with pytest.raises(InvalidInputError) as caught:
        target.parse("mesh://h:0,g:99999/")
    assert len(caught.value.faults) == 3


def test_a_good_target_is_read():
    read = target.parse("mesh://ctl-1:7700,[::1]:7700/llama.v2_x")
    assert read.controllers == ("ctl-1:7700", "[::1]:7700")
    assert read.service == "llama.v2_x"
    assert str(read) == "mesh://ctl-1:7700,[::1]:7700/llama.v2_x"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("meshlb.xyz", 1), "meshlb.picker"),
        (("meshlb.picker", "nosuch"), "expected_delay"),
        (("meshlb.picker", 7), "picker"),
        (("meshlb.picker_params", {"a": 1}), "together with meshlb.picker"),
        (("meshlb.zone", None), "zone"),
        (("meshlb.resume", {"Method": len}), "/pkg.Service/Method"),
        (("meshlb.resume", {"/a/B": "no function"}), "/pkg.Service/Method"),
        (("meshlb.controller_credentials", "secret"), "ChannelCredentials"),
        (("grpc.service_config", "{"), "service_config"),
        (("grpc.service_config", "[]"), "service_config"),
        (config(name=[{}], retryPolicy={})[0], "maxAttempts"),
        (config(name=[{}], retryPolicy={**RETRY, "maxAttempts": 1})[0], "maxAttempts"),
        (config(name=[{}], retryPolicy={**RETRY, "maxBackoff": "1"})[0], "maxBackoff"),
        (config(name=[{}], retryPolicy={**RETRY, "initialBackoff": "-1s"})[0], "initialBackoff"),
        (config(name=[{}], retryPolicy={**RETRY, "backoffMultiplier": 0})[0], "Multiplier"),
        (config(name=[{}], retryPolicy={**RETRY, "backoffMultiplier": "x"})[0], "config"),
        (config(name=[{}], retryPolicy={**RETRY, "retryableStatusCodes": ["X"]})[0], "'X'"),
        (config(name=[{}], retryPolicy={**RETRY, "retryableStatusCodes": []})[0], "Codes"),
        (config(name=[{}], perAttemptRecvTimeout="1s")[0], "RecvTimeout = '1s' of all methods"),
        (config(name=[{}], idempotent=True, perAttemptRecvTimeout="1")[0], "RecvTimeout = '1'"),
        (
            config(
                name=[{}],
                retryPolicy={**RETRY, "perAttemptRecvTimeout": "1s"},
                perAttemptRecvTimeout="1s",
            )[0],
            "once",
        ),
        (
            config(name=[{}], hedgingPolicy={"maxAttempts": 2}, perAttemptRecvTimeout="1s")[0],
            "not with a hedgingPolicy",
        ),
        (config(name=[{}], idleTimeout="soon")[0], "idleTimeout = 'soon'"),
        (config(name=[{}], idempotent="yes")[0], "idempotent"),
        (config(name=[{}], hedgingPolicy={})[0], "maxAttempts"),
        (config(name=[{}], hedgingPolicy={"maxAttempts": 1})[0], "hedgingPolicy.maxAttempts"),
        (
            config(name=[{}], hedgingPolicy={"maxAttempts": 2, "hedgingDelay": "5"})[0],
            "hedgingPolicy.hedgingDelay",
        ),
        (
            config(name=[{}], hedgingPolicy={"maxAttempts": 2, "nonFatalStatusCodes": ["X"]})[0],
            "nonFatalStatusCodes",
        ),
        (
            config(name=[{}], hedgingPolicy={"maxAttempts": 2}, retryPolicy=RETRY)[0],
            "one of them",
        ),
        (
            config(name=[{}], hedgingPolicy={"maxAttempts": 2}, idempotent=False)[0],
            "idempotent = false",
        ),
        (config(name="all", idempotent=True)[0], "name"),
    ],
)
def test_a_wrong_option_is_refused_with_name_value_and_what_is_allowed(option, says):
    with pytest.raises(InvalidInputError, match="option ") as caught:
        meshlb.insecure_channel("mesh://h:1/s", options=[option])
    assert option[0] in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("given", [[("meshlb.zone",)], ["meshlb.zone"], [(1, 2)], "x", 5])
def test_options_that_are_no_pairs_are_refused(given):
    with pytest.raises(InvalidInputError, match="options"):
        meshlb.insecure_channel("mesh://h:1/s", options=given)


def test_picker_params_are_checked_by_the_picker():
    good = options.parse([("meshlb.picker", "round_robin"), ("meshlb.picker_params", {})])
    assert good.picker == "round_robin"
    with pytest.raises(InvalidInputError, match=r"meshlb\.picker_params"):
        options.parse([("meshlb.picker", "round_robin"), ("meshlb.picker_params", {"nosuch": 1})])


def test_secure_channel_refuses_what_are_no_credentials():
    with pytest.raises(InvalidInputError, match="credentials"):
        meshlb.secure_channel("mesh://h:1/s", None)
    with pytest.raises(InvalidInputError, match="credentials"):
        meshlb.secure_channel("mesh://h:1/s", "x")
    meshlb.secure_channel("mesh://h:1/s", grpc.ssl_channel_credentials()).close()


def test_nodes_get_grpcs_options_and_a_service_config_without_retries():
    entry = {
        "name": [{"service": "p.S", "method": "M"}],
        "retryPolicy": RETRY,
        "maxRequestMessageBytes": 5,
    }
    read = options.parse(
        [("grpc.max_send_message_length", 9), ("meshlb.zone", "eu"), *config(**entry)]
    )
    given = dict(read.node_options)
    assert given["grpc.max_send_message_length"] == 9
    assert not any(key.startswith("meshlb.") for key in given)
    left = json.loads(given["grpc.service_config"])["methodConfig"][0]
    assert "retryPolicy" not in left
    assert left["maxRequestMessageBytes"] == 5
    assert entry["retryPolicy"] is RETRY


def test_the_users_own_back_off_options_win():
    read = options.parse([("grpc.initial_reconnect_backoff_ms", 7)])
    assert dict(read.node_options)["grpc.initial_reconnect_backoff_ms"] == 7


def test_the_most_exact_entry_of_the_service_config_counts():
    text = json.dumps(
        {
            "methodConfig": [
                {"name": [{"service": "p.S"}], "idempotent": True},
                {"name": [{"service": "p.S", "method": "Pay"}], "idempotent": False},
                {"name": [{"service": "p.S", "method": "Get"}], "retryPolicy": RETRY},
            ]
        }
    )
    read = options.parse([("grpc.service_config", text)])
    assert read.policy("/p.S/Get").max_attempts == 4
    assert read.policy("/p.S/Get").codes == {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
    }
    assert read.policy("/p.S/List").max_attempts == 3
    assert read.policy("/p.S/Pay").max_attempts == 1
    assert read.policy("/q.S/List") is None


def test_more_attempts_than_five_are_five_as_in_grpc():
    read = options.parse(config(name=[{}], retryPolicy={**RETRY, "maxAttempts": 50}))
    assert read.policy("/any/Method").max_attempts == 5


def test_a_channel_that_makes_no_call_opens_nothing():
    with meshlb.insecure_channel("mesh://127.0.0.1:1/s") as channel:
        channel.unary_unary("/a/B")
        assert channel._group._subscription is None
