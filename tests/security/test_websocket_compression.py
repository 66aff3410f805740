"""A small frame that unfolds to a large one never does: the server agrees to no compression."""

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.support.processes import API_KEY, ServerProcess


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path / "data")
    try:
        await server.start()
        yield server
    finally:
        await server.close()


async def test_a_client_that_offers_compression_talks_without_it(process: ServerProcess) -> None:
    headers = {
        "X-API-Key": API_KEY,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    }
    async with ClientSession() as http:
        async with http.get(f"{process.base_url}/api/v1/chat/ws", headers=headers) as response:
            assert response.status == 101
            assert "Sec-WebSocket-Extensions" not in response.headers
        async with http.ws_connect(
            f"{process.base_url}/api/v1/chat/ws", headers={"X-API-Key": API_KEY}, compress=15
        ) as socket:
            assert socket.compress == 0
            await socket.send_json({"t": "ping"})
            assert (await socket.receive_json())["type"] == "pong"
