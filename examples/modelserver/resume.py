"""How a caller takes a broken answer up where it broke: the channel's resume hook."""

from __future__ import annotations

from collections.abc import Sequence

from examples.modelserver.v1 import model_server_pb2 as pb

GENERATE = "/examples.modelserver.v1.ModelService/Generate"
EMBED = "/examples.modelserver.v1.ModelService/Embed"


def continue_answer(
    request: pb.GenerateRequest, received: Sequence[pb.GenerateResponse]
) -> pb.GenerateRequest | None:
    """Return the request for the rest of the answer; None if nothing is missing."""
    if received and received[-1].final:
        return None
    rest = pb.GenerateRequest()
    rest.CopyFrom(request)
    rest.received_text += "".join(piece.text for piece in received)
    rest.received_count += sum(piece.token_count for piece in received)
    return rest if rest.received_count < rest.max_token_count else None
