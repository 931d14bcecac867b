"""The gRPC face of an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc

from examples.modelserver.engines import Engine, Generation
from examples.modelserver.v1 import model_server_pb2 as pb
from examples.modelserver.v1 import model_server_pb2_grpc as pb_grpc
from meshlb import orca
from meshlb.errors import REASON_KEY, InvalidInputError, MeshlbError, UnavailableError

MAX_TOKENS = 8192
MAX_PROMPT_TOKENS = 131_072
CHARACTERS_A_TOKEN = 4


class ModelService(pb_grpc.ModelServiceServicer):
    """Checks requests, asks the engine, streams what comes."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    async def Generate(  # noqa: N802 - gRPC's name
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Stream the answer."""
        try:
            wanted = generation(request)
            at = wanted.received
            _count(taken_in=wanted.prompt_tokens)
            async for piece in self._engine.generate(wanted):
                yield pb.GenerateResponse(
                    text=piece.text,
                    token_count=piece.tokens,
                    first_token=at,
                    node=self._name,
                    final=piece.final,
                )
                at += piece.tokens
                _count(generated=piece.tokens)
        except MeshlbError as error:
            await _abort(context, error)

    async def Embed(  # noqa: N802 - gRPC's name
        self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.EmbedResponse:
        """Return the vector."""
        try:
            tokens = _prompt_tokens("token_count", request.token_count, request.text)
            _count(taken_in=tokens)
            values = await self._engine.embed(request.text, tokens)
        except MeshlbError as error:
            await _abort(context, error)
        return pb.EmbedResponse(values=values, node=self._name)


def generation(request: pb.GenerateRequest) -> Generation:
    """Return what is wanted; InvalidInputError names every field that is out of range."""
    faults = []
    if not 1 <= request.max_token_count <= MAX_TOKENS:
        faults.append(f"max_token_count = {request.max_token_count}: 1 to {MAX_TOKENS}")
    elif not 0 <= request.received_count < request.max_token_count:
        faults.append(
            f"received_count = {request.received_count}: 0 to max_token_count - 1,"
            f" which is {request.max_token_count - 1}"
        )
    try:
        prompt_tokens = _prompt_tokens(
            "prompt_token_count", request.prompt_token_count, request.prompt
        )
    except InvalidInputError as error:
        faults += error.faults
    if faults:
        raise InvalidInputError(faults)
    return Generation(
        prompt=request.prompt,
        prompt_tokens=prompt_tokens,
        max_tokens=request.max_token_count,
        received_text=request.received_text,
        received=request.received_count,
    )


def _prompt_tokens(field: str, declared: int, text: str) -> int:
    if not 0 <= declared <= MAX_PROMPT_TOKENS:
        raise InvalidInputError(f"{field} = {declared}: 0 to {MAX_PROMPT_TOKENS}")
    return declared or max(1, len(text) // CHARACTERS_A_TOKEN)


def _count(taken_in: int = 0, generated: int = 0) -> None:
    """Add to the server's load report, if the call is being counted."""
    if ticket := orca.current():
        ticket.add_tokens(taken_in, generated)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: MeshlbError) -> NoReturn:
    code = grpc.StatusCode.INTERNAL
    if isinstance(error, InvalidInputError):
        code = grpc.StatusCode.INVALID_ARGUMENT
    elif isinstance(error, UnavailableError):
        code = grpc.StatusCode.UNAVAILABLE
    await context.abort(code, f"{error.reason}: {error}", ((REASON_KEY, error.reason),))
