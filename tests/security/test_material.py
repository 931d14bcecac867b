"""Files that change: good ones are taken, others kept out and told once."""

import shutil
from pathlib import Path

import pytest

from meshlb.errors import InvalidInputError
from meshlb.security import client_tls, own
from meshlb.security.following import Following
from meshlb.security.material import Files, read
from meshlb.security.tokens import Tokens

TAKEN, KEPT_OUT = "certificates_changed", "certificates_not_taken"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def followed(pki, tmp_path, clock):
    """Files of their own, who follows them, and what was told."""
    files = Files(*(shutil.copy(path, tmp_path) for path in pki.write("one").paths))
    told = []
    return files, Following(files, lambda event, text: told.append((event, text)), clock), told


def replace(files, made):
    Path(files.key).write_bytes(made.key)
    Path(files.cert).write_bytes(made.cert)


def test_a_new_pair_is_taken_after_a_second_and_not_before(followed, pki, clock):
    files, following, told = followed
    first = following.current()
    fresh = pki.made("spiffe://ex/two")
    replace(files, fresh)
    clock.now = 0.9
    assert following.current() == first
    clock.now = 1.0
    assert following.current().cert == fresh.cert
    assert (following.generation, [event for event, _ in told]) == (1, [TAKEN])


def test_a_pair_that_does_not_fit_waits_for_its_other_half(followed, pki, clock):
    files, following, told = followed
    first = following.current()
    fresh = pki.made("spiffe://ex/two")
    Path(files.key).write_bytes(fresh.key)
    for clock.now in (1.0, 2.0, 3.0):
        assert following.current() == first
    assert len(told) == 1
    assert told[0][0] == KEPT_OUT
    assert f"key = {files.key!r}: the key of the certificate {files.cert}" in told[0][1]
    Path(files.cert).write_bytes(fresh.cert)
    clock.now = 4.0
    assert following.current().cert == fresh.cert
    assert told[-1][0] == TAKEN


@pytest.mark.parametrize("broken", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", b"\xff\xfe", None])
@pytest.mark.parametrize("which", ["ca", "cert", "key"])
def test_what_is_broken_is_kept_out(followed, clock, which, broken):
    files, following, told = followed
    first = following.current()
    path = Path(getattr(files, which))
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken)
    clock.now = 1.0
    assert following.current() == first
    clock.now = 2.0
    assert following.current() == first
    assert [event for event, _ in told] == [KEPT_OUT]
    assert str(path) in told[0][1]
    assert following.generation == 0


def test_what_is_wrong_at_the_start_is_an_error_that_names_the_file(pki, other_pki):
    mine, theirs = pki.write("mine"), other_pki.write("theirs")
    with pytest.raises(
        InvalidInputError, match=r"key = '.*theirs\.key': the key of the certificat"
    ):
        read(Files(mine.ca, mine.cert, theirs.key))
    with pytest.raises(InvalidInputError, match=r"ca = '/nowhere': a readable file"):
        read(Files("/nowhere"))
    with pytest.raises(InvalidInputError, match=r"key = '': a file, since cert is given"):
        client_tls.tls(cert=mine.cert)


def test_keys_are_in_no_representation(pki):
    material = read(pki.write("mine"))
    assert b"PRIVATE" in material.key
    assert "PRIVATE" not in repr(material)
    assert "PRIVATE" not in repr(pki.made())


TOKENS = '[token.ci]\nsha256 = "{}"\nroles = ["operator"]\n'


def digest(token):
    import hashlib

    return hashlib.sha256(token.encode()).hexdigest()


def test_tokens_are_known_by_their_digest_and_follow_their_file(tmp_path, clock):
    path = tmp_path / "tokens.toml"
    path.write_text(TOKENS.format(digest("first-token")))
    told = []
    tokens = Tokens(str(path), lambda event, text: told.append((event, text)), clock)
    assert tokens.of("first-token").name == "ci"
    assert tokens.of("other-token") is None
    assert tokens.of(digest("first-token")) is None
    path.write_text("[token.ci")
    clock.now = 1.0
    assert tokens.of("first-token").name == "ci"
    path.write_text(TOKENS.format(digest("second-token")) + 'services = ["s"]\n')
    clock.now = 2.0
    assert tokens.of("first-token") is None
    assert tokens.of("second-token").rule.services == ("s",)
    assert [event for event, _ in told] == ["tokens_not_taken", "tokens_changed"]


def test_all_faults_of_a_tokens_file_are_told_but_not_what_may_be_the_token(tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text(
        '[token.a]\nsha256 = "my-secret"\nroles = ["king"]\nrole = 1\n[token."b c"]\n[tokens]\n'
    )
    with pytest.raises(InvalidInputError) as caught:
        Tokens(str(path), print)
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 5
    assert "token.a.sha256: 64 hexadecimal digits" in told
    assert "roles = ['king']: a list of one or more of node, client, operator, viewer" in told
    assert "my-secret" not in told


def test_a_token_file_holds_one_token(tmp_path):
    path = tmp_path / "token"
    path.write_text("0123456789abcdef\n")
    assert client_tls.bearer(str(path)) == (("authorization", "Bearer 0123456789abcdef"),)
    for wrong in ("", "short", "with a space in between", "line-one-line-one\nline-two"):
        path.write_text(wrong)
        with pytest.raises(InvalidInputError) as caught:
            client_tls.bearer(str(path))
        assert str(path) in str(caught.value)
        assert not wrong or wrong not in str(caught.value)


def test_no_token_goes_over_a_network_in_plain_text():
    client_tls.check_bearer_way("127.0.0.1:7700", "token")
    client_tls.check_bearer_way("10.0.0.1:7700", "")
    with pytest.raises(InvalidInputError, match="everybody on the way could read it"):
        client_tls.check_bearer_way("10.0.0.1:7700", "token")


def test_a_certificate_that_ends_soon_is_told_once_and_again_when_it_has_ended(pki, clock):
    told, wall = [], Clock()
    files = pki.write("ending", days=10)
    begins, ends = (mark for mark, _ in own.marks(files, 1.0))
    wall.now = begins
    following = Following(files, lambda event, text: told.append((event, text)), clock, wall)

    def at(unix):
        wall.now = unix
        for _ in range(3):
            clock.now += 1.0
            following.current()
        return len(told)

    assert at(ends - 0.11 * (ends - begins)) == 0
    assert at(ends - 0.09 * (ends - begins)) == 1
    assert told[0][0] == "certificate_ends"
    assert f"cert = {files.cert!r}: a newer one, since it ends at " in told[0][1]
    assert at(ends) == 2
    assert "nobody takes it any more" in told[1][1]
    pki.write("ending", days=10)
    assert at(begins) == 3
    assert told[2][0] == TAKEN
