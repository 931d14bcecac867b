"""What a user's program prints of its replicas, read or refused."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlb.actuators.command.answer import replicas_of
from meshlb.errors import InvalidInputError
from meshlb.scale_model import Replica, ReplicaState

GOOD = {"replica_id": "a", "node_id": "n", "state": "ready", "since": 5, "reason": "up"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "observe printed ''"),
        ("ok", "observe printed 'ok': a JSON object"),
        ("[" * 100_000, "a JSON object"),
        ("[]", '{"replicas": [...]}'),
        ('{"replicas": {}}', '{"replicas": [...]}'),
        ({**GOOD, "replica_id": ""}, "replicas[0].replica_id = ''"),
        ({**GOOD, "replica_id": ["a"]}, "replicas[0].replica_id"),
        ({**GOOD, "node_id": 7}, "replicas[0].node_id = 7"),
        ({**GOOD, "state": "up"}, "replicas[0].state = 'up': one of starting, ready"),
        ({**GOOD, "since": "now"}, "replicas[0].since = 'now'"),
        ({**GOOD, "since": float("nan")}, "replicas[0].since"),
        ({**GOOD, "reason": None}, "replicas[0].reason = None"),
        (7, "replicas[0].replica_id = ''"),
    ],
)
def test_rubbish_is_named(answer, said):
    text = answer if isinstance(answer, str) else json.dumps({"replicas": [answer]})
    with pytest.raises(InvalidInputError) as raised:
        replicas_of(text.encode(), (), 9.0)
    assert said in str(raised.value)


def test_an_answer_is_read_whole():
    said = {"replicas": [GOOD, {"replica_id": "b", "state": "starting"}], "more": 1}
    before = [Replica("b", "", ReplicaState.STARTING, 3.0)]
    assert replicas_of(json.dumps(said).encode(), before, 9.0) == (
        Replica("a", "n", ReplicaState.READY, 5.0, "up"),
        Replica("b", "", ReplicaState.STARTING, 3.0),
    )
    with pytest.raises(InvalidInputError, match="each once"):
        replicas_of(json.dumps({"replicas": [GOOD, GOOD]}).encode(), (), 9.0)


@given(st.binary() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(
        ["replicas", "replica_id", "state", "since", "node_id", "reason"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nothing_that_is_printed_breaks_it(answer):
    with contextlib.suppress(InvalidInputError):
        replicas_of(answer, (), 1.0)
