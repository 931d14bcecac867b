"""Reads what the program says of its replicas; bad answers are refused here, by field."""

from __future__ import annotations

import json
from collections.abc import Sequence

from meshlb.errors import InvalidInputError
from meshlb.scale_model import Replica, ReplicaState

QUOTED_CHARACTERS = 200
MOST_FAULTS = 20
_STATES = {state.value: state for state in ReplicaState}


def replicas_of(answer: bytes, before: Sequence[Replica], now: float) -> Sequence[Replica]:
    """Return the replicas that an answer names; one without ``since`` keeps that of its state.

    Raises InvalidInputError with all that is wrong.
    """
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError) as error:
        text = answer[:QUOTED_CHARACTERS].decode(errors="replace")
        raise InvalidInputError(f"observe printed {text!r}: a JSON object ({error})") from error
    listed = said.get("replicas") if isinstance(said, dict) else None
    if not isinstance(listed, list):
        raise InvalidInputError(f'observe printed {str(said)[:200]!r}: {{"replicas": [...]}}')
    since = {(one.replica_id, one.state): one.since for one in before}
    found: dict[str, Replica] = {}
    faults: list[str] = []
    for index, raw in enumerate(listed):
        at = f"replicas[{index}]"
        one = raw if isinstance(raw, dict) else {}
        replica_id, node_id = one.get("replica_id", ""), one.get("node_id", "")
        state, reason = _STATES.get(str(one.get("state"))), one.get("reason", "")
        at_s = one.get("since", since.get((str(replica_id), state or ReplicaState.LOST), now))
        wrong = []
        if not is_text(replica_id) or not 1 <= len(replica_id) <= 253 or replica_id in found:
            wrong.append(f"replica_id = {replica_id!r:.140}: 1 to 253 characters, each once")
        if not is_text(node_id) or len(node_id) > 253:
            wrong.append(f"node_id = {node_id!r:.140}: 0 to 253 characters")
        if state is None:
            wrong.append(f"state = {one.get('state')!r:.140}: one of {', '.join(_STATES)}")
        if not is_text(reason):
            wrong.append(f"reason = {reason!r:.140}: a text")
        if type(at_s) not in (int, float) or not 0 <= at_s < 1e12:
            wrong.append(f"since = {at_s!r:.140}: Unix seconds")
        faults += [f"observe printed {at}.{one_fault}" for one_fault in wrong]
        if not wrong and state is not None:
            found[replica_id] = Replica(replica_id, node_id, state, float(at_s), reason[:1000])
    if faults:
        raise InvalidInputError(faults[:MOST_FAULTS])
    return tuple(found.values())


def is_text(value: object) -> bool:
    """Return whether it is a text that a program can be given."""
    return isinstance(value, str) and "\0" not in value
