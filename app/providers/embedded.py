"""The embedded model: a model server with OpenAI's API inside the process, without a key or a network.

It is called through the same client as every other model server, so that a first conversation takes the same way as
all later ones. Its reply shows that the installation works, and how to bring in a real model.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx2
import msgspec

from app.providers.client import Provider
from app.providers.models import ProviderSpec

PROVIDER_ID = MODEL = "embedded"
QUOTED_CHARS = 200
CHARS_PER_TOKEN = 4

_WORD_END = re.compile(r"(?<=\S)(?=\s)")


def embedded_provider(max_reply_bytes: int) -> Provider:
    spec = ProviderSpec(
        id=PROVIDER_ID, base_url="http://embedded.invalid/v1", default_model=MODEL, models=(MODEL,), max_retries=0
    )
    # Without `trust_env=False` a proxy of the environment would get the requests.
    client = httpx2.AsyncClient(transport=EmbeddedModel(), trust_env=False)
    return Provider(spec, max_reply_bytes=max_reply_bytes, http_client=client)


class EmbeddedModel(httpx2.AsyncBaseTransport):
    """Answers `GET /v1/models` and `POST /v1/chat/completions`, streamed or not, without a socket."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        match request.method, request.url.path:
            case "GET", "/v1/models":
                model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "palaver"}
                return httpx2.Response(200, json={"object": "list", "data": [model]})
            case "POST", "/v1/chat/completions":
                try:
                    return _complete(msgspec.json.decode(await request.aread(), type=_Request))
                except msgspec.MsgspecError as error:
                    return _error(400, str(error))
            case _:
                return _error(404, "Not found")


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Request(msgspec.Struct):
    messages: list[_Message]
    stream: bool = False
    stream_options: _StreamOptions | None = None


def reply_to(messages: Sequence[tuple[str, str]]) -> str:
    """The model's reply to a conversation of (role, text)."""
    question = next((text for role, text in reversed(messages) if role == "user"), "")
    quotation = " ".join(question.split())
    if len(quotation) > QUOTED_CHARS:  # the question is at the end, after quoted text, passages and files
        quotation = "…" + quotation[-QUOTED_CHARS:].lstrip()
    count = sum(role != "system" for role, _ in messages)
    length = "one message" if count == 1 else f"{count} messages"
    return (
        f"You said: “{quotation}”\n\n"
        f"I was given {length} of this conversation. I am Palaver's embedded model: I run inside the server, without a "
        "key and without a network, and can do no more than repeat what I am told. Everything around me is real.\n\n"
        "To talk to a real model, set OPENAI_API_KEY, and OPENAI_BASE_URL if it is not OpenAI's, and start Palaver "
        "again."
    )


def _complete(request: _Request) -> httpx2.Response:
    text, usage = _answer(request)
    if request.stream:
        with_usage = request.stream_options is not None and request.stream_options.include_usage
        events = _events(text, usage if with_usage else None)
        return httpx2.Response(200, content=events, headers={"Content-Type": "text/event-stream"})
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return httpx2.Response(200, json={**_envelope("chat.completion"), "choices": [choice], "usage": usage})


async def _events(text: str, usage: Mapping[str, int] | None) -> AsyncIterator[bytes]:
    for chunk in _chunks(text):
        yield b"data: %b\n\n" % msgspec.json.encode(chunk)
        await asyncio.sleep(0)  # others are served between two words, as they are while a socket is waited for
    if usage is not None:
        last = {**_envelope("chat.completion.chunk"), "choices": [], "usage": usage}
        yield b"data: %b\n\n" % msgspec.json.encode(last)
    yield b"data: [DONE]\n\n"


def _answer(request: _Request) -> tuple[str, Mapping[str, int]]:
    messages = [(message.role, _text_of(message.content)) for message in request.messages]
    text = reply_to(messages)
    prompt, completion = sum(_tokens(content) for _, content in messages), _tokens(text)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return text, usage


def _text_of(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text") or f"[{part.get('type')}]") for part in content)
    return content or ""


def _tokens(text: str) -> int:
    """An estimate of the number of tokens."""
    return -(-len(text) // CHARS_PER_TOKEN)


def _chunks(text: str) -> Iterator[Mapping[str, Any]]:
    envelope = _envelope("chat.completion.chunk")
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in _WORD_END.split(text))]
    for delta in deltas:
        yield {**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid4()}", "object": kind, "created": int(time.time()), "model": MODEL}


def _error(status: int, message: str) -> httpx2.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return httpx2.Response(status, json={"error": error})
