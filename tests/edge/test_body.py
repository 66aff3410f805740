"""Request bodies: limited while they arrive, at every door."""

import asyncio
import json

from tests.conftest import StartServer


async def test_json_body_without_a_length_is_refused_while_it_is_still_arriving(start_server: StartServer) -> None:
    async with start_server(max_body_bytes=10_000) as server:
        key = await server.new_key("chat")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\nX-API-Key: %s\r\n\r\n" % key.encode()
        )
        for _ in range(20):
            writer.write(b"%x\r\n%s\r\n" % (1000, b" " * 1000))
            await writer.drain()
        # The body has no end yet.
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        body = json.loads(await reader.read(10_000))
        writer.transport.abort()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert body["code"] == "payload_too_large"


async def test_json_body_within_the_limit_is_read_whole_when_it_comes_in_pieces(start_server: StartServer) -> None:
    async with start_server() as server:
        key = await server.new_key("chat")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps({"message": "x" * 1_500_000}).encode()  # more than is held of a body that nobody reads
        writer.write(
            b"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nX-API-Key: %s\r\n\r\n" % (len(body), key.encode())
        )
        writer.write(body)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        answer = json.loads(await reader.readuntil(b"}"))
        writer.transport.abort()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert answer["message"] == "Missing key: username"
