"""Whatever a file or a peer says, it is taken or refused in words; nothing else comes of it."""

import contextlib
import tomllib

from hypothesis import given
from hypothesis import strategies as st

from meshlb import settings
from meshlb.errors import InvalidInputError
from meshlb.security import hints, identity, tokens
from meshlb.security.roles import Access, Action, by_spiffe

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY = st.recursive(
    LEAVES,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=4), of),
    max_leaves=8,
)
RULE_KEYS = st.sampled_from(["identity", "roles", "services", "addresses", "sha256", "x"])
NEARLY = st.dictionaries(RULE_KEYS, ANY | st.lists(st.sampled_from(["node", "viewer", ""])))
TLS_KEYS = st.sampled_from(["cert", "key", "client_ca", "token_listen", "x"])


@given(
    tls=ANY | st.dictionaries(TLS_KEYS, ANY),
    access=ANY | st.fixed_dictionaries({"tokens": ANY, "rule": ANY | st.lists(NEARLY, max_size=3)}),
)
def test_a_configuration(tls, access):
    try:
        read = settings.parse({"controller": {"tls": tls}, "access": access})
    except InvalidInputError:
        pass
    else:
        assert settings.parse(tomllib.loads(settings.to_toml(read))) == read


@given(text=st.text(max_size=200) | NEARLY.map(lambda entry: f"[token.a]\nx = {entry!r}"))
def test_a_tokens_file(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "tokens.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(InvalidInputError):
        tokens.load(str(path))


@given(
    auth=st.dictionaries(
        st.sampled_from(["peer_uri", "peer_dns", "peer_ip", "x509_pem_cert"]),
        st.lists(st.binary(max_size=30) | st.just(b"spiffe://a/meshlb/node"), max_size=3),
    ),
    peer=st.text(max_size=40),
    service=st.text(max_size=10),
    action=st.sampled_from(Action),
)
def test_a_peer(auth, peer, service, action):
    who = identity.of_peer(auth, peer)
    refusal = Access(open=False).refusal(who, action, service)
    node = (
        auth.get("peer_uri", ()).count(b"spiffe://a/meshlb/node") == 1
        and len([uri for uri in auth["peer_uri"] if uri.startswith(b"spiffe://")]) == 1
    )
    assert (refusal is None) == (node and action is Action.REPORT)
    Access(open=False).address_refusal(who, service, ("203.0.113.9", 1))


@given(name=st.text(max_size=80) | st.from_regex(r"spiffe://[a-z.]+/meshlb/[a-z]+(/.*)?"))
def test_a_name(name):
    rule = by_spiffe(name)
    if rule is not None:
        assert name == f"{name.partition('/meshlb/')[0]}/meshlb/{rule.roles[0]}" + "".join(
            f"/{service}" for service in rule.services
        )


@given(text=st.text(max_size=80))
def test_other_texts(text):
    hints.hint(text)
    identity.is_loopback(text)
    identity.peer_host(text)
    if identity.pattern_fault(text) is None:
        assert identity.matches(text, text.replace("*", ""))
    assert tokens.in_metadata([("authorization", text)]) is not None
    assert tokens.in_metadata([("other", text)]) is None
