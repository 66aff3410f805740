"""The client of model servers, over real sockets: what is asked, what comes back, and every way to fail."""

import asyncio
import contextlib
import gzip
import traceback
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

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

    async def test_a_redirection_is_followed(self, model: ModelServer, make_provider: MakeProvider) -> None:
        moved = answers.status(307, headers={"location": "/v2/chat/completions"})
        model.script(moved, moved, answers.reply(["from there"]))
        reply = await collect(make_provider(), asking())
        assert (reply.text, reply.error) == ("from there", None)
        assert model.requests[-1].path == "/v2/chat/completions"
        assert model.requests[-1].body == model.requests[0].body

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
