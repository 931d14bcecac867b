"""A controller with mTLS or tokens: who is let in, what each may, and what the others are told.

Long because each role and each way to prove who one is goes through the same calls.
"""

import hashlib

import grpc
import pytest

from meshlb import settings
from meshlb.controller.app import Controller
from meshlb.errors import InvalidInputError
from meshlb.security.client_tls import Tls
from meshlb.v1 import balance_pb2, load_pb2, routing_pb2, scale_pb2
from tests.controller.conftest import load
from tests.waiting import until

TOKEN = "a-token-of-a-robot-0123456789"
SERVICES = balance_pb2.ListServicesRequest()


@pytest.fixture
def mutual(secured, pki):
    """A controller with mTLS and no rules."""
    return secured({"controller": pki.controller(), "default": {"fresh_s": 3600}})


def refused(call, code=grpc.StatusCode.PERMISSION_DENIED, reason="NOT_ALLOWED"):
    def whole():
        found = call()
        return list(found if hasattr(found, "__next__") else ())

    with pytest.raises(grpc.RpcError) as caught:
        whole()
    assert caught.value.code() is code, caught.value.details()
    assert caught.value.details().startswith(f"{reason}: ")
    assert dict(caught.value.trailing_metadata())["meshlb-reason"] == reason
    return caught.value.details()


def drain(service="s"):
    return balance_pb2.DrainNodeRequest(service=service, node_id="n", request_id="1")


def calls_of(controller, tls):
    """Return every method of both services as a call that only needs to be let in."""
    balance, scale = controller.balance_of(tls), controller.scale_of(tls)
    policy = scale_pb2.ScalePolicy(service="s")
    report = load_pb2.CallReport(service="s", client_id="c", sequence=1)
    subscribe = balance_pb2.Subscribe(service="s", client_id="c")
    return {
        "ReportLoad": lambda: balance.ReportLoad(iter([load("n")])),
        "WatchRoutes": lambda: balance.WatchRoutes(
            iter([balance_pb2.WatchRoutesRequest(subscribe=subscribe)])
        ),
        "ReportCalls": lambda: balance.ReportCalls(
            iter([balance_pb2.ReportCallsRequest(report=report)])
        ),
        "ListServices": lambda: balance.ListServices(SERVICES),
        "ListNodes": lambda: balance.ListNodes(balance_pb2.ListNodesRequest()),
        "DrainNode": lambda: balance.DrainNode(drain()),
        "UndrainNode": lambda: balance.UndrainNode(
            balance_pb2.UndrainNodeRequest(service="s", node_id="n", request_id="2")
        ),
        "GetScale": lambda: scale.GetScale(scale_pb2.GetScaleRequest(service="s")),
        "ListScales": lambda: scale.ListScales(scale_pb2.ListScalesRequest()),
        "SetScale": lambda: scale.SetScale(scale_pb2.SetScaleRequest(service="s", request_id="3")),
        "PauseScale": lambda: scale.PauseScale(
            scale_pb2.PauseScaleRequest(service="s", request_id="4")
        ),
        "ResumeScale": lambda: scale.ResumeScale(
            scale_pb2.ResumeScaleRequest(service="s", request_id="5")
        ),
        "PutScalePolicy": lambda: scale.PutScalePolicy(
            scale_pb2.PutScalePolicyRequest(policy=policy, request_id="6")
        ),
        "GetScalePolicy": lambda: scale.GetScalePolicy(
            scale_pb2.GetScalePolicyRequest(service="s")
        ),
        "WatchScale": lambda: scale.WatchScale(scale_pb2.WatchScaleRequest(service="s")),
        "ListScaleDecisions": lambda: scale.ListScaleDecisions(
            scale_pb2.ListScaleDecisionsRequest(service="s")
        ),
        "PreviewScalePolicy": lambda: scale.PreviewScalePolicy(
            scale_pb2.PreviewScalePolicyRequest(policy=policy)
        ),
    }


READS = {
    "ListServices", "ListNodes", "GetScale", "ListScales", "GetScalePolicy", "WatchScale",
    "ListScaleDecisions", "PreviewScalePolicy",
}  # fmt: skip
CHANGES = {"DrainNode", "UndrainNode", "SetScale", "PauseScale", "ResumeScale", "PutScalePolicy"}
MAY = {
    "node": {"ReportLoad"},
    "client": {"WatchRoutes", "ReportCalls"},
    "operator": READS | CHANGES,
    "viewer": READS,
    "controller": set(),
}


def test_the_table_above_has_every_method():
    named = {
        method.name
        for file, service in (
            (balance_pb2, "BalanceService"),
            (scale_pb2, "ScaleService"),
        )
        for method in file.DESCRIPTOR.services_by_name[service].methods
    }
    assert named == set().union(*MAY.values())


@pytest.mark.parametrize("role", MAY)
def test_each_role_may_call_its_own_methods_and_no_others(mutual, pki, role):
    calls = calls_of(mutual, pki.tls(role))
    for name in sorted(calls.keys() - MAY[role]):
        told = refused(calls[name])
        assert f"spiffe://test.local/meshlb/{role}" in told
        assert "meshlb certs" in told


def test_what_each_role_may_it_can(mutual, pki):
    node = mutual.balance_of(pki.tls("node")).ReportLoad(iter([load("n")]))
    assert next(node).report_interval
    client = mutual.open(mutual.balance_of(pki.tls("client")).WatchRoutes)
    subscribe = balance_pb2.Subscribe(service="s", client_id="c")
    client.send(balance_pb2.WatchRoutesRequest(subscribe=subscribe))
    assert next(client).WhichOneof("message")
    operator = calls_of(mutual, pki.tls("operator"))
    assert operator["PauseScale"]().scale.service == "s"
    assert operator["ListNodes"]().nodes[0].node.node_id == "n"
    assert operator["ListServices"]().services[0].service == "s"
    assert calls_of(mutual, pki.tls("viewer"))["ListServices"]().services


def test_a_node_reports_for_its_service_its_address_and_its_id_only(mutual, pki):
    balance = mutual.balance_of(pki.tls("node", "s", hosts=("node-1.test", "10.1.1.1")))
    told = refused(lambda: balance.ReportLoad(iter([load("n", "other")])))
    assert "report load of 's' only, not of service 'other'" in told
    told = refused(lambda: balance.ReportLoad(iter([load("n", address="10.9.9.9:80")])))
    assert "may not report for a node at 10.9.9.9:80" in told
    assert "node-1.test, 10.1.1.1, 127.0.0.1" in told
    # The address may not become another's midway either.
    two = [load("n", address="node-1.test:80"), load("n", address="10.9.9.9:80")]
    refused(lambda: balance.ReportLoad(iter(two)))
    other = mutual.open(mutual.balance_of(pki.tls("node", hosts=("node-2.test",))).ReportLoad)
    other.send(load("victim", address="node-2.test:80"))
    next(other)
    told = refused(lambda: balance.ReportLoad(iter([load("victim", address="node-1.test:80")])))
    assert "node-2.test:80" in told
    listed = calls_of(mutual, pki.tls("viewer"))["ListNodes"]().nodes
    assert {n.node.node_id: n.node.address for n in listed}["victim"] == "node-2.test:80"
    assert not {n.node.address for n in listed} & {"10.9.9.9:80"}


def test_a_node_that_moved_gets_its_id_back_though_its_old_host_closed_nothing(secured, pki):
    controller = secured({"controller": pki.controller(), "default": {"fresh_s": 0.1}})
    old = controller.open(controller.balance_of(pki.tls("node", hosts=("old.test",))).ReportLoad)
    old.send(load("n", address="old.test:80"))
    next(old)

    def listed():
        nodes = calls_of(controller, pki.tls("viewer"))["ListNodes"]().nodes
        return {n.node.node_id: n for n in nodes}["n"]

    until(lambda: listed().state == routing_pb2.NODE_STATE_UNKNOWN)
    balance = controller.balance_of(pki.tls("node", hosts=("new.test",)))
    moved = load("n", address="new.test:80")
    moved.report.node.incarnation = 2
    next(balance.ReportLoad(iter([moved])))
    assert listed().node.address == "new.test:80"


def test_a_client_of_one_service_sees_no_other(mutual, pki):
    stub = mutual.balance_of(pki.tls("client", "s"))
    subscribe = balance_pb2.Subscribe(service="t", client_id="c")
    told = refused(
        lambda: stub.WatchRoutes(iter([balance_pb2.WatchRoutesRequest(subscribe=subscribe)]))
    )
    assert "not of service 't'" in told
    report = load_pb2.CallReport(service="t", client_id="c", sequence=1)
    refused(lambda: stub.ReportCalls(iter([balance_pb2.ReportCallsRequest(report=report)])))


def test_lists_show_what_the_caller_may_see(secured, pki):
    rule = {"identity": "ann.test", "roles": ["viewer"], "services": ["s", "new"]}
    rules = {"rule": [rule, {"identity": "root.test", "roles": ["operator", "node"]}]}
    controller = secured({"controller": pki.controller(), "access": rules})
    tls = {}
    for name in ("ann.test", "root.test"):
        files = pki.write(name, hosts=(name,))
        tls[name] = Tls(ca=files.ca, cert=files.cert, key=files.key)
    root = controller.balance_of(tls["root.test"])
    for service in ("s", "t"):
        next(root.ReportLoad(iter([load(f"n-{service}", service)])))
    ann = calls_of(controller, tls["ann.test"])
    assert [one.service for one in ann["ListServices"]().services] == ["s"]
    assert {one.node.service for one in ann["ListNodes"]().nodes} == {"s"}
    assert [one.service for one in ann["ListScales"]().scales] == ["s"]
    with pytest.raises(grpc.RpcError) as caught:
        controller.scale_of(tls["ann.test"]).GetScale(scale_pb2.GetScaleRequest(service="new"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "UNKNOWN_SERVICE: service = 'new': one of ['s']"
    refused(lambda: controller.scale_of(tls["ann.test"]).WatchScale(
        scale_pb2.WatchScaleRequest(service="t")
    ))  # fmt: skip
    stranger = pki.tls("operator")  # its URI tells a role, but rules hold now
    assert "[[access.rule]]" in refused(calls_of(controller, stranger)["ListServices"])


def test_strangers_do_not_get_past_the_handshake(mutual, pki, other_pki):
    strange = other_pki.write("stranger", "spiffe://test.local/meshlb/operator")
    expired = pki.write("expired", "spiffe://test.local/meshlb/operator", days=-1)
    for tls in (
        Tls(ca=str(pki.ca), cert=strange.cert, key=strange.key),
        Tls(ca=str(pki.ca), cert=expired.cert, key=expired.key),
        Tls(ca=str(pki.ca)),
        None,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            mutual.balance_of(tls).ListServices(SERVICES)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_refusals_are_logged_and_counted_with_who_and_why(mutual, pki, logged):
    client = calls_of(mutual, pki.tls("client"))
    refused(client["SetScale"])
    refused(client["SetScale"])
    until(lambda: sum(line["event"] == "refused" for line in logged) == 2)
    line = next(line for line in logged if line["event"] == "refused")
    assert (line["call"], line["reason"]) == ("SetScale", "NOT_ALLOWED")
    assert line["who"] == "spiffe://test.local/meshlb/client"
    (counted,) = calls_of(mutual, pki.tls("operator"))["ListServices"]().refusals
    assert (counted.call, counted.reason, counted.count) == ("SetScale", "NOT_ALLOWED", 2)
    assert counted.last_identity == "spiffe://test.local/meshlb/client"
    assert counted.last_peer.startswith("ipv4:127.0.0.1:")


def tokens_file(folder, **more):
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    lines = ["[token.robot]", f'sha256 = "{digest}"', 'roles = ["operator"]']
    lines += [f"{key} = {value}" for key, value in more.items()]
    path = folder / "tokens.toml"
    path.write_text("\n".join(lines))
    return str(path)


def bearer(token=TOKEN):
    return (("authorization", f"Bearer {token}"),)


def test_tokens_on_a_port_of_their_own(secured, pki, tmp_path, logged):
    section = pki.controller()
    section["tls"]["token_listen"] = "127.0.0.1:0"
    controller = secured({"controller": section, "access": {"tokens": tokens_file(tmp_path)}})
    address = f"127.0.0.1:{controller.app.token_port}"
    stub = controller.balance_of(Tls(ca=str(pki.ca)), address)
    assert not stub.ListServices(SERVICES, metadata=bearer()).services
    told = refused(
        lambda: stub.ListServices(SERVICES, metadata=bearer("wrong-token-0123456789")),
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
    )
    assert "wrong-token" not in told
    refused(
        lambda: stub.ListServices(SERVICES),
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
    )
    reporting = stub.ReportLoad(iter([load("n")]), metadata=bearer())
    told = refused(lambda: reporting)
    assert "token robot has the role operator" in told
    until(lambda: sum(line["event"] == "refused" for line in logged) == 3)
    assert TOKEN not in str(logged)
    assert "wrong-token" not in str(logged)


def test_tokens_in_plain_text_on_loopback(secured, tmp_path):
    controller = secured({"access": {"tokens": tokens_file(tmp_path, services='["s"]')}})
    stub = controller.balance_of()
    stub.ListServices(SERVICES, metadata=bearer())
    told = refused(lambda: stub.DrainNode(drain("t"), metadata=bearer()))
    assert "not of service 't'" in told
    refused(
        lambda: stub.ListServices(SERVICES),
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
    )


@pytest.mark.parametrize("listen", ["0.0.0.0:7700", "[::]:7700", "10.0.0.1:0", "mesh.ex:7700"])
def test_plain_text_is_served_on_loopback_only_unless_said(listen, logged):
    with pytest.raises(InvalidInputError) as caught:
        Controller(listen=listen)
    assert "allow_plain_text = true" in str(caught.value)
    assert "meshlb certs" in str(caught.value)
    allowed = settings.parse({"controller": {"allow_plain_text": True}})
    Controller(allowed, listen)
    assert logged[0]["event"] == "plain_text_allowed"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ({"controller": {"tls": {"cert": "c"}}}, "controller.tls.key = '': a file, since"),
        ({"controller": {"tls": {"cert": "c", "key": "k"}}}, "anybody who comes may do anything"),
        ({"controller": {"tls": {"client_ca": "c"}}}, "controller.tls.cert = '': a file"),
        ({"controller": {"tls": {"crt": "c"}}}, "controller.tls.crt = 'c': not a key; known: cert"),
        ({"controller": {"tls": {"cert": 1}}}, "controller.tls.cert = 1: a text"),
        ({"controller": {"allow_plain_text": 1}}, "allow_plain_text = 1: true or false"),
        ({"access": {"rule": [{"identity": "a", "roles": ["node"]}]}}, "client_ca = ''"),
        ({"access": {"rule": [{"roles": ["node"]}]}}, "access.rule[0].identity = '': a name"),
        ({"access": {"rule": [{"identity": "a*b"}]}}, "a single * at its end or its beginning"),
        ({"access": {"rule": [{"identity": "a"}]}}, "access.rule[0].roles = []: a list"),
        ({"access": {"rule": {}}}, "access.rule: tables"),
        ({"access": {"rule": [{"identity": "a", "role": "x"}]}}, "role = 'x': not a key"),
        (
            {"controller": {"tls": {"cert": "c", "key": "k", "client_ca": "a",
                                    "token_listen": "x"}}},
            "controller.tls.token_listen = 'x': HOST:PORT",
        ),
    ],
)  # fmt: skip
def test_what_a_configuration_may_not_say(raw, fault):
    with pytest.raises(InvalidInputError) as caught:
        settings.parse(raw)
    assert fault in str(caught.value)


def test_what_is_configured_is_shown_and_loads_back(tmp_path):
    raw = {
        "controller": {
            "tls": {"cert": "c", "key": "k", "client_ca": "a", "token_listen": "127.0.0.1:1"}
        },
        "access": {
            "tokens": "t",
            "rule": [
                {"identity": "*.ex", "roles": ["node", "client"], "services": ["s"]},
                {"identity": "ann", "roles": ["viewer"], "addresses": ["10.*"]},
            ],
        },
    }
    read = settings.parse(raw)
    path = tmp_path / "shown.toml"
    path.write_text(settings.to_toml(read))
    assert settings.load(path) == read


def test_every_change_leaves_a_line_of_who_what_before_and_after(mutual, pki, logged):
    next(mutual.balance_of(pki.tls("node")).ReportLoad(iter([load("n")])))
    operator = pki.tls("operator")
    for _ in range(2):  # the second is the same request again, which changes nothing
        calls_of(mutual, operator)["PauseScale"]()
    next(mutual.balance_of(operator).DrainNode(drain()))
    calls_of(mutual, operator)["UndrainNode"]()
    pause, drained, undrained = [line for line in logged if line["event"] == "audit"]
    assert {line["who"] for line in (pause, drained)} == {"spiffe://test.local/meshlb/operator"}
    assert (pause["call"], pause["service"], pause["request_id"]) == ("PauseScale", "s", "4")
    assert pause["before"]["pause"]["scale_in"] is False
    assert pause["after"]["pause"]["scale_in"] is True
    assert (drained["node"], drained["before"]) == ("n", {"withdrawn": None})
    assert drained["after"] == {"withdrawn": "by an operator"}
    assert (undrained["before"], undrained["after"]) == (drained["after"], drained["before"])
