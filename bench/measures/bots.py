"""Bots on a platform that reports every message of its groups while replies are shown as they are made."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from bench.processes import BenchError, ServerProcess
from bench.scenario import Bench, Figures, quantile
from bench.systems import API_KEY, palaver

BOTS, CHATS, STREAMS = 50, 1000, 64
RATE, SECONDS = 200, 10
PACE_MS = 20
ANSWERED = 20
"""One event in so many is a message to a bot, and answered with eight tokens; the others are talk in groups."""
CONNECT_SECONDS = 60.0
ADMIN = f'''
[[api_keys]]
key = "{API_KEY}"
scopes = ["admin"]
'''


@dataclass(slots=True)
class Platform:
    """A stand-in for Telegram on loopback, in this process: it takes all that bots say, and knows their webhooks."""

    port: int = 0
    secrets: dict[str, str] = field(default_factory=dict)
    """What proves that an update is the platform's, by the bot's token."""
    calls: int = 0
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def handle(self, request: web.Request) -> web.Response:
        token, method = request.match_info["token"], request.match_info["method"]
        fields = await request.json() if request.can_read_body else {}
        result: Any = True
        if method == "getMe":
            result = {"id": 7, "is_bot": True, "first_name": "Bench", "username": "bench_bot"}
        elif method == "setWebhook":
            self.secrets[token] = fields["secret_token"]
        elif method in ("sendMessage", "editMessageText"):
            self.calls += 1
            result = {"message_id": fields.get("message_id") or next(self.numbers)}
        return web.json_response({"ok": True, "result": result})


async def inbound(bench: Bench) -> Figures:
    """200 events a second from 1,000 chats of 50 bots, beside 64 replies of 50 tokens a second that people watch."""
    figures = Figures()
    folder = bench.new_folder("bots")
    configs = folder / "configs"
    configs.mkdir(parents=True)
    seconds = bench.scaled(SECONDS, 1)
    tokens = (seconds + 5) * 1000 // PACE_MS
    (configs / "long.toml").write_text(f'model = "t{tokens}-d{PACE_MS}"\n')
    (configs / "short.toml").write_text('model = "t8"\n')
    settings: dict[str, Any] = {
        "PALAVER_API_KEYS": "",  # the one of ADMIN instead
        "PALAVER_WEBHOOK_ALLOW_PRIVATE": "true",
        "PALAVER_SERVER": bench.server,
    }
    async with (
        _platform() as platform,
        palaver(folder, bench.model, tables=ADMIN, **settings) as server,
        aiohttp.ClientSession(headers={"X-API-Key": API_KEY}, connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        stage = _Stage(http, server, platform, bench.scaled(BOTS, 2))
        await stage.make_bots()
        for _ in range(bench.rounds):
            await stage.begin_replies(bench.scaled(STREAMS, 2))
            before = server.cpu_seconds()
            taken = await stage.report(bench.scaled(CHATS, 10), bench.scaled(RATE, 20), seconds)
            cores = (server.cpu_seconds() - before) / seconds
            active = await stage.active_runs()
            if active < bench.scaled(STREAMS, 2):
                raise BenchError(f"only {active} replies were being made at the end")
            figures.add(
                p50=1000 * quantile(taken, 0.5), p99=1000 * quantile(taken, 0.99), most=1000 * max(taken), cores=cores
            )
            while await stage.active_runs():
                await asyncio.sleep(0.2)
        if not platform.calls:
            raise BenchError("nobody saw a reply")
    return figures


@asynccontextmanager
async def _platform() -> AsyncIterator[Platform]:
    platform = Platform()
    app = web.Application()
    app.router.add_route("*", "/bot{token}/{method}", platform.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    platform.port = runner.addresses[0][1]
    try:
        yield platform
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class _Stage:
    """Bots of a server on the platform; every other one answers at length."""

    http: aiohttp.ClientSession
    server: ServerProcess
    platform: Platform
    bots: int
    updates: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"http://{self.server.host}:{self.server.port}"

    async def make_bots(self) -> None:
        """Make them, and wait until each has told the platform where its webhook is."""
        for number in range(self.bots):
            config = {
                "telegram_token": str(number),
                "api_base_url": f"http://127.0.0.1:{self.platform.port}",
                "webhook_url": f"{self.url}/api/v1/im/webhooks/bot{number}",
                "allow": ["*"],
                "config_id": "short" if number % 2 else "long",
            }
            body = {"id": f"bot{number}", "adapter": "telegram", "config": config}
            async with self.http.post(f"{self.url}/api/v1/bots", json=body) as response:
                if response.status != 201:
                    raise BenchError(f"{response.status}: {await response.text()}")
        async with asyncio.timeout(CONNECT_SECONDS):
            while len(self.platform.secrets) < self.bots:
                await asyncio.sleep(0.05)

    async def begin_replies(self, replies: int) -> None:
        """Have as many replies begun as that, each in a private chat of its own, and wait until all are being made."""
        first = next(self.updates)
        for number in range(replies):
            await self._post(2 * number % self.bots, first * 10_000 + number, is_private=True)
        async with asyncio.timeout(CONNECT_SECONDS):
            while await self.active_runs() < replies:
                await asyncio.sleep(0.05)

    async def report(self, chats: int, rate: int, seconds: int) -> list[float]:
        """Report events at an even pace; the seconds from when each was due until it was acknowledged."""
        began = time.perf_counter() + 0.1

        async def one(number: int) -> float:
            due = began + number / rate
            await asyncio.sleep(due - time.perf_counter())
            bot = number % self.bots
            if number % ANSWERED == 0:
                await self._post(bot | 1, 900_000_000 + number % chats, is_private=True)
            else:
                await self._post(bot, 1 + number % chats, is_private=False)
            return time.perf_counter() - due

        return await asyncio.gather(*(one(number) for number in range(rate * seconds)))

    async def active_runs(self) -> int:
        async with self.http.get(f"{self.url}/metrics") as response:
            text = await response.text()
        return int(float(text.partition("\npalaver_runs_active ")[2].partition("\n")[0]))

    async def _post(self, bot: int, chat: int, *, is_private: bool) -> None:
        number = next(self.updates)
        message = {
            "message_id": number,
            "date": int(time.time()),
            "chat": {"id": chat, "type": "private"} if is_private else {"id": -chat, "type": "supergroup"},
            "from": {"id": chat, "is_bot": False, "first_name": "Somebody"},
            "text": "Has anybody seen the hostas?",
        }
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.platform.secrets[str(bot)]}
        async with self.http.post(
            f"{self.url}/api/v1/im/webhooks/bot{bot}", json={"update_id": number, "message": message}, headers=headers
        ) as response:
            if response.status != 200:
                raise BenchError(f"an event was answered with {response.status}")
