"""`GET /api/v1/doctor`, its stream, and `palaver doctor`."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.answers import hang, status
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.processes import ServerProcess, palaver, provider_toml
from tests.support.server import Server


@pytest.fixture
async def report_key(server: Server) -> str:
    return await server.new_key("admin")


async def test_all_parts_are_checked(server: Server, report_key: str, model: ModelServer) -> None:
    async with Client(server, report_key) as admin:
        report = (await admin.get("/api/v1/doctor")).json()["data"]
    assert report["state"] == "ok", report
    names = [check["name"] for check in report["checks"]]
    assert names == ["version", "migrations", "database", "storage", "disk", "model server scripted"]
    timed = {check["name"] for check in report["checks"] if check["milliseconds"] is not None}
    assert timed == {"database", "storage", "model server scripted"}
    assert model.requests[-1].body["max_tokens"] == 16


async def test_a_model_server_that_fails_is_named_without_its_words(
    server: Server, report_key: str, model: ModelServer
) -> None:
    model.script(status(401))
    async with Client(server, report_key) as admin:
        answer = await admin.get("/api/v1/doctor")
    report = answer.json()["data"]
    assert report["state"] == "failed"
    assert [check["name"] for check in report["checks"] if check["state"] == "failed"] == ["model server scripted"]
    assert "sk-secret" not in answer.text


async def test_only_unbound_admins_see_the_report(server: Server) -> None:
    for scopes, username, code in (
        (("chat",), None, "insufficient_scope"),
        (("admin",), "alice", "username_not_allowed"),
    ):
        async with Client(server, await server.new_key(*scopes, username=username)) as client:
            answer = await client.get("/api/v1/doctor")
            assert (answer.status_code, answer.json()["code"]) == (403, code)
    async with Client(server, None) as client:
        assert (await client.get("/api/v1/doctor/stream")).status_code == 401


async def test_the_events_of_the_stream_come_one_by_one(server: Server) -> None:
    moments = []
    async with (
        Client(server, await server.new_key("knowledge")) as client,
        client.http.stream("GET", "/api/v1/doctor/stream") as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        async for piece in answer.aiter_raw():
            assert piece.count(b'"type":"tick"') == 1
            moments.append(time.monotonic())
    assert len(moments) == 5
    assert moments[-1] - moments[0] > 0.5


async def test_a_stream_counts_among_those_of_its_key(start_server: StartServer) -> None:
    async with (
        start_server(max_streams_per_key=1) as server,
        Client(server, await server.new_key("chat")) as client,
        client.http.stream("GET", "/api/v1/doctor/stream"),
    ):
        answer = await client.get("/api/v1/doctor/stream")
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_streams")


class TestCommand:
    pytestmark = pytest.mark.databases("sqlite")

    async def test_prints_the_checks_of_a_running_server(self, tmp_path: Path, model: ModelServer) -> None:
        data_dir = tmp_path / "own"
        data_dir.mkdir()
        (data_dir / "palaver.toml").write_text(provider_toml(model.base_url))
        process = ServerProcess(data_dir)
        await process.start()
        try:
            code, printed = await palaver("doctor", "--url", process.base_url, data_dir=data_dir)
            assert code == 0, printed
            for name in ("version", "migrations", "database", "storage", "disk", "clocks", "streams", "websockets"):
                assert f"  {name} " in printed
            assert " answers (" in printed
            assert "failed" not in printed
            model.script(status(500))
            code, printed = await palaver("doctor", "--url", process.base_url, data_dir=data_dir)
            assert (code, "failed   model server scripted" in printed) == (1, True)
        finally:
            await process.close()
        code, printed = await palaver("doctor", "--url", process.base_url, data_dir=data_dir)
        assert code == 1
        assert printed.startswith(f"Error: Cannot check {process.base_url}: ")
        assert printed.count("\n") == 1

    async def test_says_so_when_streams_are_collected(self, tmp_path: Path, server: Server) -> None:
        collector = await asyncio.start_server(_collecting(server.port), "127.0.0.1", 0)
        port = collector.sockets[0].getsockname()[1]
        async with collector:
            code, printed = await palaver(
                "doctor", "--url", f"http://127.0.0.1:{port}", data_dir=server.settings.data_dir
            )
        assert code == 1
        assert "proxy_buffering off;" in printed


def _collecting(port: int):  # type: ignore[no-untyped-def]
    """A proxy that hands on an answer when it is over."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, sender = await asyncio.open_connection("127.0.0.1", port)
        request = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in request.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        head = request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        sender.write(head + (await reader.readexactly(length) if length else b""))
        answer, leaving = asyncio.create_task(upstream.read()), asyncio.create_task(reader.read())
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
        sender.close()
        writer.write(await answer)
        writer.close()
        await leaving

    return handle


async def test_a_silent_model_server_is_not_waited_for_long(
    start_server: StartServer, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ops.doctor.MODEL_SECONDS", 0.2)
    model.script(hang())
    async with start_server() as server, Client(server, await server.new_key("admin")) as admin:
        report = (await admin.get("/api/v1/doctor")).json()["data"]
    assert report["checks"][-1]["detail"] == "No answer within 0 seconds"
