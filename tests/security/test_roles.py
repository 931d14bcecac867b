"""Who may do what: every role against every action, and the words of each refusal."""

import pytest

from meshlb.security.identity import Identity, Kind
from meshlb.security.roles import Access, Action, Role, Rule, by_spiffe

AUTHENTICATED = Access(open=False)
ALLOWED = {
    Role.NODE: {Action.REPORT},
    Role.CLIENT: {Action.CALL},
    Role.OPERATOR: {Action.CHANGE, Action.READ},
    Role.VIEWER: {Action.READ},
}


def certificate(name, hosts=(), peer_host="10.0.0.7"):
    return Identity(Kind.CERTIFICATE, name, (name,), hosts, peer_host)


def of_role(role, service=""):
    return certificate(f"spiffe://ex/meshlb/{role}" + (f"/{service}" if service else ""))


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_each_role_may_do_its_own_and_no_more(role, action):
    refusal = AUTHENTICATED.refusal(of_role(role), action, "llama")
    assert (refusal is None) == (action in ALLOWED[role])
    if refusal is not None:
        assert refusal.reason == "NOT_ALLOWED"
        assert f"has the role {role}" in refusal.text
        assert action.value in refusal.text
        assert "meshlb certs" in refusal.text


@pytest.mark.parametrize("action", Action)
def test_where_nobody_is_asked_everybody_may(action):
    nobody = Identity(Kind.NOTHING, "ipv4:127.0.0.1:1")
    assert Access(open=True).refusal(nobody, action, "") is None
    refusal = AUTHENTICATED.refusal(nobody, action, None)
    assert refusal.reason == "UNAUTHENTICATED"
    assert "--cert" in refusal.text
    assert "--token-file" in refusal.text


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("spiffe://ex/meshlb/operator", ((Role.OPERATOR,), ())),
        ("spiffe://ex/meshlb/node/llama-3.1_x", ((Role.NODE,), ("llama-3.1_x",))),
        ("spiffe://ex/meshlb/controller", None),
        ("spiffe://ex/meshlb/operator/a/b", None),
        ("spiffe://ex/meshlb/Operator", None),
        ("spiffe://ex/other/operator", None),
        ("spiffe://ex/meshlb/operator\n", None),
        ("https://ex/meshlb/operator", None),
        ("operator.ex", None),
    ],
)
def test_what_a_spiffe_uri_tells(name, rule):
    found = by_spiffe(name)
    assert (None if found is None else (found.roles, found.services)) == rule


def test_a_dns_name_alone_has_no_role_without_rules():
    refusal = AUTHENTICATED.refusal(certificate("operator.ex"), Action.READ, None)
    assert "has no role here" in refusal.text


def test_services_bound_what_a_role_may():
    node = of_role(Role.NODE, "llama")
    assert AUTHENTICATED.refusal(node, Action.REPORT, "llama") is None
    assert AUTHENTICATED.refusal(node, Action.REPORT, None) is None
    other = AUTHENTICATED.refusal(node, Action.REPORT, "mixtral")
    assert "of 'llama' only, not of service 'mixtral'" in other.text
    assert "certs --role node --service SERVICE" in other.text
    assert "all services at once" in AUTHENTICATED.refusal(node, Action.REPORT, "").text


def test_rules_take_the_place_of_what_uris_tell():
    access = Access((Rule("*.ops.ex", (Role.VIEWER, Role.CLIENT), ("llama",)),), open=False)
    refusal = access.refusal(of_role(Role.OPERATOR), Action.READ, None)
    assert 'identity = "spiffe://ex/meshlb/operator", roles = ["operator"]' in refusal.text
    ann = certificate("ann.ops.ex")
    assert access.refusal(ann, Action.READ, "llama") is None
    assert access.refusal(ann, Action.CALL, "llama") is None
    assert access.refusal(ann, Action.CALL, "mixtral") is not None
    assert access.refusal(ann, Action.CHANGE, "llama") is not None


def test_grants_of_several_rules_add_up():
    rules = (Rule("a", (Role.CLIENT,), ("x",)), Rule("*", (Role.CLIENT,), ("y",)))
    access = Access(rules, open=False)
    assert access.refusal(certificate("a"), Action.CALL, "x") is None
    assert access.refusal(certificate("a"), Action.CALL, "y") is None
    assert access.refusal(certificate("b"), Action.CALL, "x") is not None


def test_a_token_has_the_rule_that_is_given_with_it():
    ci = Identity(Kind.TOKEN, "token ci")
    rule = (Rule("ci", (Role.VIEWER,)),)
    assert AUTHENTICATED.refusal(ci, Action.READ, "", rule) is None
    refusal = AUTHENTICATED.refusal(ci, Action.CHANGE, "x", rule)
    assert 'add "operator" to the roles of this token' in refusal.text


@pytest.mark.parametrize(
    ("host", "port", "may"),
    [
        ("node-1.ex", 1, True),
        ("NODE-1.ex.", 1, True),
        ("10.0.0.8", 1, True),
        ("10.0.0.7", 1, True),  # where it comes from
        ("10.0.0.9", 1, False),
        ("node-2.ex", 1, False),
        ("pods.ex", 8000, True),
        ("pods.ex", 8001, False),
        ("10.1.2.3", 1, True),
        ("10.1.evil.ex", 1, False),
        ("0:0:0:0:0:0:0:1", 1, True),
    ],
)
def test_a_node_reports_for_its_own_address_only(host, port, may):
    rule = Rule("spiffe://ex/n", (Role.NODE,), ("s",), ("pods.ex:8000", "10.1.*"))
    access = Access((rule,), open=False)
    who = certificate("spiffe://ex/n", ("node-1.ex", "10.0.0.8", "::1"))
    refusal = access.address_refusal(who, "s", (host, port))
    assert (refusal is None) is may
    if not may:
        assert f"{host}:{port}" in refusal.text
        assert "`addresses`" in refusal.text


def test_addresses_of_a_rule_hold_for_its_services_only():
    access = Access((Rule("n", (Role.NODE,), ("s",), ("10.1.*",)),), open=False)
    assert access.address_refusal(certificate("n"), "t", ("10.1.1.1", 1)) is not None
