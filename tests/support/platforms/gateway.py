"""The gateway of Discord and QQ: sessions with numbered events, which are replayed to who resumes."""

from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform


class FakeGateway:
    """One bot's gateway. Events of a session are kept; `privileged` are intents that are not turned on."""

    def __init__(self, token: str, fake: FakePlatform) -> None:
        self.token = token
        self.fake = fake
        self.user: dict[str, Any] = {"id": "9001", "username": "Palaver"}
        self.privileged = 0
        self.heartbeat_ms = 40_000
        self.answers_heartbeats = True
        self.close_with: int | None = None
        self.sockets: list[web.WebSocketResponse] = []
        self.sessions: dict[str, list[dict[str, Any]]] = {}
        self.identified: list[dict[str, Any]] = []
        self.resumed: list[dict[str, Any]] = []
        self.heartbeats = 0
        self.close_codes: list[int | None] = []

    def is_known(self, token: str) -> bool:
        return token == self.token

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await send(socket, {"op": 10, "d": {"heartbeat_interval": self.heartbeat_ms}})
        try:
            async for message in socket:
                value = msgspec.json.decode(message.data)
                match value["op"]:
                    case 1:
                        self.heartbeats += 1
                        if self.answers_heartbeats:
                            await send(socket, {"op": 11})
                    case 2:
                        await self._identify(socket, value["d"])
                    case 6:
                        await self._resume(socket, value["d"])
        finally:
            if socket in self.sockets:
                self.sockets.remove(socket)
            self.close_codes.append(socket.close_code)
        return socket

    async def _identify(self, socket: web.WebSocketResponse, data: dict[str, Any]) -> None:
        self.identified.append(data)
        if not self.is_known(data["token"]):
            await socket.close(code=4004)
        elif data["intents"] & self.privileged:
            await socket.close(code=4014)
        elif self.close_with is not None:
            await socket.close(code=self.close_with)
        else:
            id = f"session-{self.fake.next_number()}"
            url = f"ws://127.0.0.1:{self.fake.port}/gateway"
            ready = {"session_id": id, "resume_gateway_url": url, "user": self.user, "guilds": []}
            self.sessions = {id: []}
            self.sockets.append(socket)
            await self.dispatch("READY", ready)

    async def _resume(self, socket: web.WebSocketResponse, data: dict[str, Any]) -> None:
        self.resumed.append(data)
        events = self.sessions.get(data["session_id"])
        if events is None:
            await send(socket, {"op": 9, "d": False})
            return
        for event in events:
            if event["s"] > data["seq"]:
                await send(socket, event)
        self.sockets.append(socket)
        await self.dispatch("RESUMED", {})

    async def dispatch(self, kind: str, data: dict[str, Any]) -> None:
        """Tell of an event, over the connection or when the session is resumed."""
        await self.fake.until(lambda: bool(self.sessions))
        (events,) = self.sessions.values()
        event = {"op": 0, "t": kind, "s": len(events) + 1, "d": data}
        events.append(event)
        if self.sockets:
            await send(self.sockets[-1], event)

    async def close(self, code: int) -> None:
        """Close the connection; what happens meanwhile is kept."""
        while self.sockets:
            socket = self.sockets.pop()
            await socket.close(code=code)


async def send(socket: web.WebSocketResponse, value: Any) -> None:
    await socket.send_str(msgspec.json.encode(value).decode())
