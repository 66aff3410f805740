"""`palaver doctor`: the checks of a running server, and of the way to it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from app.cli.dashboard import server_url
from app.cli.errors import Refusal, refusing
from app.cli.folder import data_dir_option, prepare, upgrade
from app.settings import Settings, load_settings

SECONDS: Final = 30.0
WEBSOCKET_SECONDS: Final = 5.0
MAX_CLOCK_SECONDS: Final = 2.0
BUFFERED_SHARE: Final = 0.5
"""Of the time over which a stream's events were sent: if they arrive within less, something has collected them."""
NGINX_LINES: Final = """\
location / {
    proxy_pass http://127.0.0.1:6185;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
}"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the report."""

    state: str
    name: str
    detail: str


@click.command()
@click.option("--url", help="The server's address, such as the public one.  [that of PALAVER_HOST and PALAVER_PORT]")
@data_dir_option
def doctor(url: str | None, data_dir: Path | None) -> None:
    """Check the running server, and the way to it: streams, WebSockets, clocks, the model servers, the disk."""
    settings = load_settings(data_dir=data_dir)
    lines = asyncio.run(_examine(settings, (url or server_url(settings)).rstrip("/")))
    width = max(len(line.name) for line in lines)
    for line in lines:
        click.echo(f"{line.state:<7}  {line.name.ljust(width)}  {line.detail}")
    if any(line.name == "streams" and line.state == "failed" for line in lines):
        click.echo(
            f"\nA proxy on the way collects streams. With nginx, these lines mend it:\n\n{NGINX_LINES}", err=True
        )
    if any(line.state == "failed" for line in lines):
        raise SystemExit(1)


async def _examine(settings: Settings, url: str) -> list[Line]:
    token = None if settings.no_auth else await _token(settings)
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        with refusing(f"Cannot check {url}"):
            headers = {} if token is None else {"Authorization": f"Bearer {await _sign_in(session, url, token)}"}
            try:
                report, seconds = await _report(session, url, headers)
                streams = await _check_streams(session, url, headers)
                sockets = await _check_websocket(session, url, headers)
            finally:
                if headers:
                    async with session.delete(f"{url}/api/v1/browser-sessions", headers=headers):
                        pass
    checks = [Line(check["state"], check["name"], _detail(check)) for check in report["checks"]]
    return [*checks, _check_clock(report["time"], seconds), streams, sockets]


def _detail(check: dict[str, Any]) -> str:
    took = check["milliseconds"]
    return str(check["detail"]) if took is None else f"{check['detail']} ({took:.0f} ms)"


async def _token(settings: Settings) -> str:
    from app.core import open_core
    from app.parts import open_browser_sessions

    prepare(settings)
    await asyncio.to_thread(upgrade, settings)
    with refusing("Cannot sign in"):
        core = open_core(settings)
    try:
        await core.keys.open()
        return await open_browser_sessions(settings, core).create_operator_token()
    finally:
        await core.database.close()


async def _sign_in(session: aiohttp.ClientSession, url: str, token: str) -> str:
    body = {"token": token, "bearer": True}
    async with session.post(f"{url}/api/v1/browser-sessions", json=body) as answer:
        return str((await _data(answer))["session"])


async def _report(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[dict[str, Any], float]:
    """The server's own checks, and how many seconds of them its clock is not to be compared over."""
    started = time.monotonic()
    async with session.get(f"{url}/api/v1/doctor", headers=headers) as answer:
        data = await _data(answer)
    return data, time.monotonic() - started


async def _data(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    content = await answer.json(content_type=None)
    if answer.status >= 400:
        message = content.get("message") if isinstance(content, dict) else None
        raise Refusal(f"{answer.url} answers {answer.status}: {message or answer.reason}")
    data: dict[str, Any] = content["data"]
    return data


def _check_clock(server_time: str, seconds: float) -> Line:
    apart = (datetime.now(UTC) - datetime.fromisoformat(server_time)).total_seconds()
    apart = 0.0 if 0 <= apart <= seconds else apart
    state = "ok" if abs(apart) <= MAX_CLOCK_SECONDS else "warning"
    return Line(state, "clocks", f"The server's clock and this one are {abs(apart):.1f} s apart")


async def _check_streams(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Line:
    arrived: list[float] = []
    sent = 0.0
    async with session.get(f"{url}/api/v1/doctor/stream", headers=headers) as answer:
        async for event in _events(answer):
            arrived.append(time.monotonic())
            sent = event["sent_ms"] / 1000
    if not arrived:
        return Line("failed", "streams", "No event arrived")
    spread = arrived[-1] - arrived[0]
    if spread < sent * BUFFERED_SHARE:
        return Line("failed", "streams", f"Events sent over {sent:.1f} s arrived within {spread:.1f} s")
    return Line("ok", "streams", "Events arrive one by one")


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def _check_websocket(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Line:
    try:
        async with (
            asyncio.timeout(WEBSOCKET_SECONDS),
            session.ws_connect(f"{url}/api/v1/chat/ws", headers=headers) as socket,
        ):
            started = time.monotonic()
            await socket.send_json({"t": "ping"})
            answer = await socket.receive_json()
    except TimeoutError:
        return Line("failed", "websockets", f"No answer within {WEBSOCKET_SECONDS:.0f} s")
    except (aiohttp.ClientError, TypeError, ValueError) as error:
        return Line("failed", "websockets", f"They do not pass: {error}")
    if answer.get("type") != "pong":
        return Line("failed", "websockets", f"Unexpected answer: {answer.get('data')}")
    return Line("ok", "websockets", f"They pass ({(time.monotonic() - started) * 1000:.0f} ms)")
