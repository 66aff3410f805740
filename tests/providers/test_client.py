"""The client of model servers, over real sockets: what is asked, what comes back, and every way to fail."""

import asyncio
import contextlib
import gzip
import json
import traceback
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from app.providers import client
from app.providers.models import Delta, ModelRequest, ToolCallDelta, UpstreamError, Usage
from tests.providers.conftest import MakeProvider, asking, collect
from tests.support import answers
from tests.support.answers import SECRET, Answer
from tests.support.model_server import ModelServer


class TestRequest:
    async def test_the_model_server_gets_what_was_asked(self, model: ModelServer, make_provider: MakeProvider) -> None:
        provider = make_provider(api_key="sk-1", extra_headers={"X-Team": "blue"})
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "d"}}],
            },
        ]
        params = {"temperature": 0.1, "stop": ["x"], "top_k": 3, "tools": [{"type": "function"}], "seed": None}
        await collect(provider, ModelRequest("m2", messages, params))
        request = model.requests[0]
        assert request.path == "/v1/chat/completions"
        assert request.body == {
            "model": "m2",
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **params,
        }
        assert request.headers["authorization"] == "Bearer sk-1"
        assert request.headers["x-team"] == "blue"
        assert request.headers["accept-encoding"] == "identity"

    async def test_params_cannot_replace_what_the_provider_decides(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        params = {"model": "other", "stream": False, "messages": [], "stream_options": {"include_usage": False, "x": 1}}
        await collect(make_provider(), asking("hi", params=params))
        body = model.requests[0].body
        assert (body["model"], body["stream"], len(body["messages"])) == ("m", True, 1)
        assert body["stream_options"] == {"include_usage": True, "x": 1}

    async def test_a_server_without_a_key_gets_no_authorization(
        self, model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-server")
        monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-server")
        reply = await collect(make_provider(api_key=None), asking())
        assert reply.error is None
        assert "authorization" not in model.requests[0].headers
        assert "another-server" not in str(model.requests[0].headers)

    @pytest.mark.parametrize(
        ("models", "accepted"), [((), {"m", "a", "b"}), (("a",), {"m", "a"})], ids=["any model", "listed models"]
    )
    def test_models_that_a_request_may_name(
        self, make_provider: MakeProvider, models: tuple[str, ...], accepted: set[str]
    ) -> None:
        provider = make_provider(models=models)
        assert {name for name in ("m", "a", "b") if provider.accepts(name)} == accepted


class TestReply:
    async def test_a_reply_comes_with_its_finish_reason_and_usage(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.reply(["Hel", "lo"], usage=(9, 4, 2), reasoning=["hm"]))
        reply = await collect(make_provider(), asking())
        assert reply.error is None
        assert reply.deltas == [
            Delta(reasoning="hm"),
            Delta("Hel"),
            Delta("lo"),
            Delta(finish_reason="stop"),
            Delta(usage=Usage(9, 4, 2)),
        ]

    async def test_tokens_that_arrive_together_come_together(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.reply(answers.numbered(20), one_write=True))
        reply = await collect(make_provider(), asking())
        assert reply.text == "".join(answers.numbered(20))
        assert len(reply.reads) == 1

    async def test_a_token_is_not_held_back_for_the_next(self, model: ModelServer, make_provider: MakeProvider) -> None:
        gate = asyncio.Event()
        model.script(answers.reply(["first", "second"], gate=gate, hold_after=1))
        async with aclosing(make_provider().stream(asking())) as stream:
            assert [delta.text for delta in await anext(stream)] == ["first"]
            gate.set()
            assert [delta.text async for deltas in stream for delta in deltas if delta.text] == ["second"]

    async def test_tool_calls_come_in_pieces(self, model: ModelServer, make_provider: MakeProvider) -> None:
        model.script(answers.tool_calls(("c1", "weather", '{"city":1}')))
        reply = await collect(make_provider(), asking())
        assert reply.error is None
        assert [call for delta in reply.deltas for call in delta.tool_calls] == [
            ToolCallDelta(0, "c1", "weather", '{"cit'),
            ToolCallDelta(0, None, None, 'y":1}'),
        ]

    async def test_a_server_that_does_not_stream_is_understood(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.not_sse(["Hello", " you"]))
        reply = await collect(make_provider(), asking())
        assert reply.error is None
        assert reply.reads == [[Delta("Hello you", finish_reason="stop", usage=Usage(10, 0, 2))]]

    async def test_a_compressed_answer_is_read_all_the_same(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        body = gzip.compress(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n')
        model.script(Answer(raw=body, headers={"content-encoding": "gzip"}))
        assert (await collect(make_provider(), asking())).text == "hi"

    async def test_one_connection_serves_one_reply_after_another(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        provider = make_provider()
        for _ in range(3):
            assert (await collect(provider, asking())).error is None
        assert model.connections == 1

    @pytest.mark.parametrize("query", ["api-version=2024-10-21", "a=1&a=2&b=%20x%26", "flag"])
    @pytest.mark.parametrize("end", ["", "/"])
    async def test_an_addresses_query_goes_with_every_request(
        self, model: ModelServer, make_provider: MakeProvider, query: str, end: str
    ) -> None:
        address = model.base_url.removesuffix("/v1")
        provider = make_provider(base_url=f"{address}/openai/deployments/d{end}?{query}")
        for request in (asking(), asking(stream=False), asking(params={"temperature": 0})):
            assert (await collect(provider, request)).error is None
        with contextlib.suppress(UpstreamError):
            await provider.call("/embeddings", {})
        await provider.model_ids()
        paths = [request.path for request in model.requests]
        below = f"/openai/deployments/d/{{}}?{query}"
        assert paths[:4] == [*[below.format("chat/completions")] * 3, below.format("embeddings")]
        assert paths[4:] == [below.format("models")]

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirection_is_an_error(
        self, model: ModelServer, make_provider: MakeProvider, status: int
    ) -> None:
        """It could lead the conversation and the secrets of `extra_headers` anywhere."""
        async with ModelServer() as other:
            model.script(answers.status(status, headers={"location": f"{other.base_url}/chat/completions"}))
            reply = await collect(make_provider(extra_headers={"api-key": "k"}), asking())
            assert reply.failure.message == "The model server answered with a redirection"
            assert reply.failure.gateway_status == 502
            assert other.requests == []

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
    @pytest.mark.parametrize("scheme", ["http://", ""])
    async def test_a_proxy_in_the_environment_is_asked(
        self, model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
    ) -> None:
        monkeypatch.setenv(name, scheme + model.base_url.removeprefix("http://").removesuffix("/v1"))
        reply = await collect(make_provider(base_url="http://model.invalid/v1"), asking())
        assert reply.error is None
        assert [request.path for request in model.requests] == ["http://model.invalid/v1/chat/completions"]

    async def test_a_proxy_is_not_asked_for_a_host_that_needs_none(
        self, model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
        monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
        reply = await collect(make_provider(), asking())
        assert reply.error is None
        assert [request.path for request in model.requests] == ["/v1/chat/completions"]

    async def test_a_name_and_password_of_a_proxy_are_sent_to_it(
        self, model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", model.base_url.replace("//", "//ann:secret@").removesuffix("/v1"))
        assert (await collect(make_provider(base_url="http://model.invalid/v1"), asking())).error is None
        assert model.requests[0].headers["proxy-authorization"] == "Basic YW5uOnNlY3JldA=="

    async def test_a_name_and_password_in_the_address_are_sent_as_such(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        provider = make_provider(base_url=model.base_url.replace("//", "//ann:secret@"), api_key=None)
        assert (await collect(provider, asking())).error is None
        assert model.requests[0].headers["authorization"] == "Basic YW5uOnNlY3JldA=="

    @pytest.mark.parametrize(
        ("host", "proxy"),
        [("127.0.0.1", None), ("localhost", None), ("192.0.2.1", "HTTP_PROXY"), ("model.invalid", "HTTP_PROXY")],
    )
    async def test_cookies_are_not_kept(
        self,
        model: ModelServer,
        make_provider: MakeProvider,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        proxy: str | None,
    ) -> None:
        """One caller's would be sent with the next one's request. Some cookie jars keep those of names only."""
        if proxy is not None:
            monkeypatch.setenv(proxy, model.base_url.removesuffix("/v1"))
        model.script(replace(answers.reply(), headers={"set-cookie": "session=of-the-first; Path=/"}))
        provider = make_provider(base_url=model.base_url.replace("127.0.0.1", host))
        for _ in range(2):
            assert (await collect(provider, asking())).error is None
        assert "cookie" not in model.requests[1].headers

    async def test_a_stream_kept_open_after_done_does_not_hold_the_reply(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.held_open(["hi"]))
        reply = await collect(make_provider(timeout_seconds=30), asking())
        assert (reply.text, reply.error) == ("hi", None)

    async def test_more_streams_than_the_libraries_default_run_at_once(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        gate = asyncio.Event()
        model.default = lambda _: answers.reply(["a", "b"], gate=gate, hold_after=1)
        provider = make_provider()
        replies = [asyncio.create_task(collect(provider, asking())) for _ in range(150)]
        await model.wait_for_requests(150)
        gate.set()
        assert {reply.text for reply in await asyncio.gather(*replies)} == {"ab"}

    async def test_closing_the_stream_closes_the_connection(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.hang_after(1))
        async with aclosing(make_provider().stream(asking())) as stream:
            await anext(stream)
        await model.wait_for_disconnects(1)

    async def test_cancelling_the_reader_closes_the_connection(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.hang(), answers.hang_after(1))
        provider = make_provider()
        for count in (1, 2):
            reader = asyncio.create_task(collect(provider, asking()))
            await model.wait_for_requests(count)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            await model.wait_for_disconnects(count)


FAULTS = [
    (answers.status(500), "The model server failed", 500, ""),
    (answers.status(503), "The model server failed", 503, ""),
    (answers.status(429), "The model server is receiving too many requests", 429, ""),
    (answers.status(401), "The model server refused Palaver's credentials", 401, ""),
    (answers.status(403), "The model server refused Palaver's credentials", 403, ""),
    (answers.status(404), "The model server does not know this model", 404, ""),
    (answers.status(400), "The model server rejected the request", 400, ""),
    (answers.status(418), "The model server rejected the request", 418, ""),
    (answers.hang(), "The model server did not answer in time", None, ""),
    (answers.hang_after(0), "The model server fell silent in the middle of its reply", None, ""),
    (answers.hang_after(2), "The model server fell silent in the middle of its reply", None, "t0 t1 "),
    (answers.cut_after(0), "The model server broke off its reply", None, ""),
    (answers.cut_after(2), "The model server broke off its reply", None, "t0 t1 "),
    (answers.clean_end_after(2), "The model server broke off its reply", None, "t0 t1 "),
    (answers.broken_json(1), "The model server sent something that is not a chat completion", None, "t0 "),
    (answers.error_event(1), "The model server failed while it was replying", 503, "t0 "),
    (answers.error_event(1, one_write=True), "The model server failed while it was replying", 503, "t0 "),
    (answers.garbage(), "The model server broke off its reply", None, ""),
    (answers.empty(), "The model server broke off its reply", None, ""),
    (answers.nothing_but_done(), "The model server sent an empty reply", None, ""),
    (answers.reply([]), "The model server sent an empty reply", None, ""),
    (answers.not_sse([]), "The model server sent an empty reply", None, ""),
    (answers.raw(b"[", "application/json"), "The model server sent something that is not a chat completion", None, ""),
    (answers.html(), "The model server answered with something that is not a reply", None, ""),
    (answers.raw(b"hello", "text/plain"), "The model server answered with something that is not a reply", None, ""),
    (answers.raw(b"x" * 2_000_000), "The model server sent an event that is too large", None, ""),
    (answers.reply(["x" * 60_000] * 2), "The model server's reply is longer than 100000 bytes", None, "x" * 60_000),
    (answers.not_sse(["x" * 2_000_000]), "The model server's reply is longer than 100000 bytes", None, ""),
]


@pytest.mark.parametrize(("answer", "message", "status", "text"), FAULTS)
async def test_a_fault_is_an_error_with_a_safe_message_and_the_next_request_works(
    model: ModelServer, make_provider: MakeProvider, answer: Answer, message: str, status: int | None, text: str
) -> None:
    provider = make_provider(timeout_seconds=1.5)
    model.script(answer)
    reply = await collect(provider, asking("hello"))
    assert (reply.failure.message, reply.failure.status, reply.text) == (message, status, text)
    assert reply.failure.detail
    for secret in (SECRET, "10.0.0.7", model.base_url):
        assert secret not in str(reply.failure)
    assert SECRET not in reply.failure.detail
    assert SECRET not in "".join(traceback.format_exception(reply.failure))
    after = await collect(provider, asking("again"))
    assert (after.text, after.error) == ("You said: again", None)


async def test_a_server_that_is_not_there_is_an_error(make_provider: MakeProvider, closed_port: int) -> None:
    reply = await collect(make_provider(base_url=f"http://127.0.0.1:{closed_port}/v1"), asking())
    assert reply.failure.message == "The model server could not be reached"
    assert str(closed_port) not in reply.failure.message


async def test_a_key_that_no_header_can_hold_is_an_error(make_provider: MakeProvider) -> None:
    reply = await collect(make_provider(api_key="sk-\nbroken-secret"), asking())
    assert reply.failure.message == "The model server could not be reached"
    assert "broken-secret" not in reply.failure.detail


async def test_the_requests_own_timeout_takes_the_place_of_the_providers(
    model: ModelServer, make_provider: MakeProvider
) -> None:
    model.script(answers.hang())
    reply = await collect(make_provider(timeout_seconds=60), asking(timeout_seconds=0.05))
    assert reply.failure.message == "The model server did not answer in time"


async def test_a_slow_reply_is_not_a_silent_one(model: ModelServer, make_provider: MakeProvider) -> None:
    model.script(answers.reply(answers.numbered(8), delay=0.05))
    reply = await collect(make_provider(timeout_seconds=1.5), asking())
    assert reply.error is None


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_a_passing_fault_before_the_first_token_is_not_seen(
        self, model: ModelServer, make_provider: MakeProvider, status: int
    ) -> None:
        model.script(answers.status(status, headers={"retry-after-ms": "1"}), answers.reply(["ok"]))
        reply = await collect(make_provider(max_retries=1), asking())
        assert (reply.text, reply.error, len(model.requests)) == ("ok", None, 2)

    async def test_a_fault_after_the_first_token_is_not_retried(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.cut_after(1))
        reply = await collect(make_provider(max_retries=3), asking())
        assert (reply.text, len(model.requests)) == ("t0 ", 1)
        assert reply.error is not None

    async def test_a_silent_server_is_not_asked_again(self, model: ModelServer, make_provider: MakeProvider) -> None:
        model.script(answers.hang())
        reply = await collect(make_provider(max_retries=3, timeout_seconds=0.05), asking())
        assert (reply.failure.message, len(model.requests)) == ("The model server did not answer in time", 1)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("60", 60.0),
            ("0.5", 0.5),
            ("-1", 0.0),
            ("Mon, 01 Jan 2024 00:00:00 GMT", 0.0),
            ("soon", None),
            ("nan", None),
            ("1e300", 86_400.0),
            ("9" * 400, None),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ],
    )
    async def test_retry_after_is_passed_on(
        self, model: ModelServer, make_provider: MakeProvider, header: str, seconds: float | None
    ) -> None:
        model.script(answers.status(429, headers={"Retry-After": header}))
        reply = await collect(make_provider(), asking())
        assert reply.failure.retry_after == seconds

    async def test_a_long_retry_after_is_an_error_at_once(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.status(429, headers={"Retry-After": "60"}))
        async with asyncio.timeout(5):
            reply = await collect(make_provider(max_retries=2), asking())
        assert (reply.failure.status, reply.failure.retry_after, len(model.requests)) == (429, 60.0, 1)


class TestStreamOptions:
    @pytest.mark.parametrize("status", [400, 422])
    async def test_a_server_that_rejects_them_is_asked_without_from_then_on(
        self, model: ModelServer, make_provider: MakeProvider, status: int
    ) -> None:
        provider = make_provider()
        model.script(answers.status(status, message="Unrecognized argument: stream_options"))
        for _ in range(2):
            assert (await collect(provider, asking())).error is None
        assert ["stream_options" in request.body for request in model.requests] == [True, False, False]

    async def test_another_rejection_is_not_blamed_on_them(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        provider = make_provider()
        model.script(answers.status(400, message="too many tokens"))
        assert (await collect(provider, asking())).failure.status == 400
        await collect(provider, asking())
        assert ["stream_options" in request.body for request in model.requests] == [True, True]

    async def test_they_are_kept_when_the_second_try_fails_too(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        provider = make_provider()
        rejection = answers.status(400, message="stream_options or something else")
        model.script(rejection, rejection)
        assert (await collect(provider, asking())).failure.status == 400
        await collect(provider, asking())
        assert ["stream_options" in request.body for request in model.requests] == [True, False, True]


HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
WHOLE = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
DONE = b"data: [DONE]\n\n"
LABELS = [
    "text/event-stream",
    "application/json",
    "text/plain; charset=utf-8",
    "application/octet-stream",
    "text/html",
    "",
]


class TestFirstBytes:
    """What an answer is, its first bytes show, whatever it is labelled."""

    @pytest.mark.parametrize("label", LABELS)
    @pytest.mark.parametrize("asked_for_stream", [True, False])
    @pytest.mark.parametrize("keep_raw", [True, False])
    @pytest.mark.parametrize(
        "body",
        [
            HELLO + STOP + DONE,
            b"\xef\xbb\xbf" + HELLO + STOP,
            b"\r\n\r\n: keep-alive\r\n\r\n" + HELLO + STOP,
            b"id: 1\nevent: message\n" + HELLO + STOP,
            b"retry:5\n\n" + HELLO + STOP,
            WHOLE,
            b"\xef\xbb\xbf \n\n" + WHOLE + b"\n",
            b'{"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n' + STOP.removeprefix(b"data: "),
        ],
    )
    async def test_a_reply_is_a_reply(
        self,
        model: ModelServer,
        make_provider: MakeProvider,
        label: str,
        body: bytes,
        asked_for_stream: bool,
        keep_raw: bool,
    ) -> None:
        model.script(answers.raw(body, label))
        reply = await collect(make_provider(), asking(stream=asked_for_stream, keep_raw=keep_raw))
        assert (reply.text, reply.error) == ("Hello", None)
        if keep_raw:
            values = [json.loads(delta.raw or b"") for delta in reply.deltas]
            members = {name for value in values for choice in value["choices"] for name in choice}
            assert ("delta" in members, "message" in members) == (asked_for_stream, not asked_for_stream)

    @pytest.mark.parametrize("label", LABELS)
    @pytest.mark.parametrize("body", [b"<!doctype html><title>x</title>", b"\n <html>data: {}\n\n", b"<?xml ?><a/>"])
    async def test_a_page_is_none(
        self, model: ModelServer, make_provider: MakeProvider, label: str, body: bytes
    ) -> None:
        model.script(answers.raw(body, label))
        reply = await collect(make_provider(), asking())
        assert reply.failure.message == "The model server answered with something that is not a reply"

    async def test_a_stream_becomes_the_completion_that_was_asked_for(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(replace(answers.tool_calls(("c1", "f", '{"a":1}'), text=["Hel", "lo"]), reasoning=("hm", "m")))
        streamed = await collect(make_provider(), asking(keep_raw=True))
        body = b"".join(b"data: %b\n\n" % (delta.raw or b"") for delta in streamed.deltas)
        model.script(answers.raw(body))
        reply = await collect(make_provider(), asking(stream=False, keep_raw=True))
        (delta,) = reply.deltas
        completion = json.loads(delta.raw or b"")
        assert completion["object"] == "chat.completion"
        assert completion["usage"]["completion_tokens"] == 2
        assert completion["choices"] == [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "reasoning_content": "hmm",
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
                },
                "finish_reason": "tool_calls",
            }
        ]


class TestEnd:
    @pytest.mark.parametrize("fault", ["cut", "close", "hang"])
    async def test_what_has_a_finish_reason_is_finished(
        self, model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        monkeypatch.setattr(client, "FINISH_SECONDS", 0.2)
        model.script(answers.after_finish(fault))
        async with asyncio.timeout(10):
            reply = await collect(make_provider(timeout_seconds=60), asking())
        assert (reply.text, reply.error) == ("Hello", None)

    async def test_usage_behind_the_finish_reason_is_waited_for(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(answers.after_finish("pause"))
        reply = await collect(make_provider(), asking())
        assert reply.deltas[-1].usage == Usage(10, 0, 1)

    async def test_a_completion_is_complete_though_its_connection_breaks(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(replace(answers.raw(WHOLE, "application/json"), then="cut"))
        assert (await collect(make_provider(), asking())).text == "Hello"


class TestBounds:
    @pytest.mark.parametrize("status", [400, 500])
    async def test_of_an_endless_error_the_beginning_is_read(
        self, model: ModelServer, make_provider: MakeProvider, status: int
    ) -> None:
        model.script(Answer(status=status, raw=b"x" * 50_000_000, content_type="text/plain"))
        reply = await collect(make_provider(), asking())
        assert reply.failure.status == status
        assert "65536 bytes" in reply.failure.detail

    async def test_other_answers_are_bounded(
        self, model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1000)
        model.script(answers.raw(b'{"data":"' + b"x" * 1000 + b'"}', "application/json"))
        with pytest.raises(UpstreamError, match="larger than 1000 bytes"):
            await make_provider().call("/embeddings", {})


class TestLog:
    @pytest.mark.parametrize(
        "answer",
        [
            *(
                Answer(status=status, raw=b'{"error":{"message":"no WORD","code":"WORD"}}')
                for status in (400, 422, 500)
            ),
            Answer(status=400, raw=b"you said WORD"),
            Answer(status=307, raw=b"WORD", headers={"location": "/WORD"}),
            answers.raw(b"data: you said WORD\n\n"),
            answers.raw(b'data: {"error":{"message":"WORD","type":"WORD"}}\n\n'),
            answers.raw(b"event: error\ndata: WORD\n\n"),
            answers.raw(b'{"WORD":', "application/json"),
            answers.raw(b"<html>WORD", "text/html"),
            answers.raw(b"WORD", "text/WORD"),
        ],
    )
    async def test_a_failures_detail_does_not_hold_the_servers_words(
        self, model: ModelServer, make_provider: MakeProvider, answer: Answer
    ) -> None:
        model.script(answer)
        failure = (await collect(make_provider(), asking())).failure
        assert failure.detail
        assert "WORD" not in failure.detail

    async def test_words_that_are_no_ones_are_logged(self, model: ModelServer, make_provider: MakeProvider) -> None:
        error = {"error": {"message": "x" * 20, "type": "invalid_request_error", "code": "context_length_exceeded"}}
        body = json.dumps(error).encode()
        model.script(Answer(status=400, raw=body))
        failure = (await collect(make_provider(), asking())).failure
        assert failure.detail == (
            f"status 400, {len(body)} bytes, a reason of 20 characters, invalid_request_error, context_length_exceeded"
        )


class TestDefaults:
    REFUSALS = (
        {"error": {"message": "Unsupported parameter", "param": "max_tokens", "code": "unsupported_parameter"}},
        {"error": {"message": "'max_tokens' is not supported with this model."}},
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]},
        {"object": "error", "message": "Unknown name maxTokens"},
        {"message": "max tokens: only the default is supported"},
    )

    @pytest.mark.parametrize("refusal", REFUSALS)
    @pytest.mark.parametrize("status", [400, 422])
    async def test_a_refused_default_is_taken_back_for_that_model(
        self, model: ModelServer, make_provider: MakeProvider, refusal: dict[str, Any], status: int
    ) -> None:
        provider = make_provider()
        model.script(Answer(status=status, raw=json.dumps(refusal).encode()))
        params = {"max_tokens": 5, "temperature": 0.1, "top_p": 1}
        request = asking(params=params, defaults=frozenset({"max_tokens", "temperature"}))
        assert (await collect(provider, request)).error is None
        await collect(provider, request)
        await collect(provider, replace(request, model="another"))
        assert ["max_tokens" in each.body for each in model.requests] == [True, False, False, True]
        assert all(each.body["temperature"] == 0.1 and each.body["top_p"] == 1 for each in model.requests)

    async def test_several_are_taken_back_one_after_another(
        self, model: ModelServer, make_provider: MakeProvider
    ) -> None:
        model.script(
            *(answers.status(400, message=f"no {name}") for name in ("temperature", "stream_options", "max_tokens"))
        )
        params = {"max_tokens": 5, "temperature": 0.1}
        request = asking(params=params, defaults=frozenset(params))
        assert (await collect(make_provider(), request)).error is None
        assert model.requests[-1].body.keys() == {"model", "messages", "stream"}

    async def test_what_was_asked_for_stays(self, model: ModelServer, make_provider: MakeProvider) -> None:
        model.script(answers.status(400, message="no temperature"))
        reply = await collect(make_provider(), asking(params={"temperature": 2}, defaults=frozenset({"max_tokens"})))
        assert (reply.failure.status, len(model.requests)) == (400, 1)


async def test_a_connection_that_is_closed_without_an_answer_is_tried_again(
    model: ModelServer, make_provider: MakeProvider
) -> None:
    model.script(answers.closed(), answers.closed(), answers.reply(["ok"]))
    reply = await collect(make_provider(max_retries=2), asking())
    assert (reply.text, len(model.requests)) == ("ok", 3)


async def test_a_refused_connection_is_tried_again(
    make_provider: MakeProvider, caplog: pytest.LogCaptureFixture, closed_port: int
) -> None:
    caplog.set_level("INFO", "openai")
    reply = await collect(make_provider(base_url=f"http://127.0.0.1:{closed_port}/v1", max_retries=2), asking())
    assert reply.failure.message == "The model server could not be reached"
    assert sum("Retrying" in record.message for record in caplog.records) == 2
