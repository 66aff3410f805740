"""The trial of the abuse: one key attacks in one way after another, or in all, while clients with other keys chat.

They are measured before the attack, too: what a busy machine costs is not the server's fault.
"""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import aiohttp
import msgspec
import psutil

from chaos.abuse_attacks import ATTACKS
from chaos.clients import LOST
from chaos.storm import Say
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.support.programs import ROOT

MAX_FIRST_TOKEN_SECONDS = 0.25
MAX_MEMORY_BYTES = 600 * 1024**2
QUOTA_BYTES = 512 * 1024**2
PAUSE_SECONDS = 0.5
CALM_PROVIDER = "calm"
"""The model server of the ordinary clients: what the attack costs the other one is not measured."""
KEYS = tuple(f"{API_KEY}-of-client-{number}" for number in range(8))
HOSTILE_KEY = f"{API_KEY}-of-mallory"
ENVIRONMENT = {
    "PALAVER_API_KEYS": ",".join(
        (f"mallory={HOSTILE_KEY}", *(f"client{number}={key}" for number, key in enumerate(KEYS)))
    ),
    "PALAVER_MAX_STORAGE_PER_KEY": str(QUOTA_BYTES),
}


@dataclass(frozen=True, slots=True)
class AbusePlan:
    """Seconds of the measurement before, and of each attack; `tolerance` is for a machine that is busy before."""

    seconds: float = 15.0
    base_seconds: float = 20.0
    clients: int = 32
    tolerance: float = 0.2
    attacks: Sequence[str] = tuple(ATTACKS)
    at_once: bool = False


@dataclass(slots=True)
class Abuse:
    """Seconds to the first token, before and during each attack; bytes of the server alone, and with its workers."""

    before: list[float] = field(default_factory=list)
    during: dict[str, list[float]] = field(default_factory=dict)
    memory: int = 0
    """The most memory since the attack began that goes on, in bytes."""
    server_peak: int = 0
    total_peak: int = 0
    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def p99(times: Sequence[float]) -> float:
    return quantiles(times, n=100)[98] if len(times) > 1 else 0.0


async def abuse(plan: AbusePlan, folder: Path, say: Say) -> Abuse:
    trial = Abuse()
    data_dir = folder / "data"
    data_dir.mkdir()
    models = [await _start_model() for _ in range(2)]
    server = ServerProcess(data_dir, ENVIRONMENT)
    try:
        hostile_toml, calm_toml = [provider_toml(await _address_of(model)) for model in models]
        (data_dir / "palaver.toml").write_text(hostile_toml + calm_toml.replace('"scripted"', f'"{CALM_PROVIDER}"'))
        await server.start()
        await _chat_for(plan.base_seconds, plan.clients, server.base_url, trial, trial.before)
        say(f"before: {describe(trial.before)}")
        watch = asyncio.create_task(_watch(server.process.pid, trial))
        rounds = {"all at once": plan.attacks} if plan.at_once else {name: [name] for name in plan.attacks}
        for name, attacks in rounds.items():
            times = trial.during.setdefault(name, [])
            trial.memory = 0
            await _attack(attacks, plan, server.base_url, trial, times)
            say(f"{name}: {describe(times)}, {trial.memory / 1024**2:.0f} MiB with workers")
        watch.cancel()
        if (code := await server.end()) != 0:
            trial.problems.append(f"the server ended with {code}")
    finally:
        for model in models:
            model.kill()
            await model.wait()
        await server.close()
    _judge(trial, plan)
    return trial


async def _attack(attacks: Sequence[str], plan: AbusePlan, url: str, trial: Abuse, times: list[float]) -> None:
    """Attack from a process of its own, while the clients chat."""
    arguments = (url, HOSTILE_KEY, str(plan.seconds), *attacks)
    attack = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chaos.abuse_attacks", *arguments, cwd=ROOT, stdout=PIPE
    )
    await _chat_for(plan.seconds, plan.clients, url, trial, times)
    out, _ = await attack.communicate()
    answers = msgspec.json.decode(out or b"{}")
    if not answers:
        trial.problems.append(f"the attack failed: {', '.join(attacks)}")
    trial.answers.update(answers)


async def _start_model() -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "chaos.abuse_model", cwd=ROOT, stdout=PIPE)


async def _address_of(model: Process) -> str:
    assert model.stdout is not None
    return (await model.stdout.readline()).decode().strip()


def describe(times: Sequence[float]) -> str:
    if not times:
        return "no chats"
    middle, worst = sorted(times)[len(times) // 2], max(times)
    return (
        f"{len(times)} chats, first token after {middle * 1000:.0f} ms (p99 {p99(times) * 1000:.0f}, "
        f"worst {worst * 1000:.0f})"
    )


def _judge(trial: Abuse, plan: AbusePlan) -> None:
    longest = max(MAX_FIRST_TOKEN_SECONDS, p99(trial.before) + plan.tolerance)
    for name, times in trial.during.items():
        if (during := p99(times)) > longest:
            trial.problems.append(f"{name}: the first token took {during:.3f} s (p99), more than {longest:.3f} s")
    if trial.total_peak > MAX_MEMORY_BYTES:
        trial.problems.append(f"the server and its workers took {trial.total_peak / 1024**2:.0f} MiB")
    for attack, answers in trial.answers.items():
        if any(status.startswith(("500", "HTTP/1.1 500")) for status in answers):
            trial.problems.append(f"an internal error: {attack}")


async def _chat_for(seconds: float, clients: int, url: str, trial: Abuse, times: list[float]) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as http:
        end = time.monotonic() + seconds

        async def client(number: int) -> None:
            await asyncio.sleep(PAUSE_SECONDS * number / clients)
            while time.monotonic() < end:
                try:
                    times.append(await _first_token(http, KEYS[number % len(KEYS)], f"c{number}"))
                except (*LOST, AssertionError) as error:
                    trial.problems.append(f"a chat failed: {error!r:.300}")
                await asyncio.sleep(PAUSE_SECONDS)

        await asyncio.gather(*(client(number) for number in range(clients)))


async def _first_token(http: aiohttp.ClientSession, key: str, username: str) -> float:
    """Measure the seconds from a message to the first text of its reply."""
    start, first = time.monotonic(), 0.0
    body = {"username": username, "session_id": f"{username}-{start}", "message": "Hello there"}
    body["selected_provider"] = CALM_PROVIDER
    async with http.post("/api/v1/chat", json=body, headers={"X-API-Key": key}) as response:
        async for line in response.content:
            if not first and b'"type":"plain"' in line:
                first = time.monotonic() - start
    assert first, f"status {response.status}"
    return first


async def _watch(pid: int, trial: Abuse) -> None:
    """Note the most memory, shared pages counted once, twice a second."""
    process = psutil.Process(pid)
    while True:
        with suppress(psutil.Error):
            own = process.memory_full_info().pss
            workers = 0
            for child in process.children(recursive=True):
                with suppress(psutil.Error):
                    workers += child.memory_full_info().pss
            trial.server_peak = max(trial.server_peak, own)
            trial.memory = max(trial.memory, own + workers)
            trial.total_peak = max(trial.total_peak, own + workers)
        await asyncio.sleep(0.5)
