"""Replies: how many tokens a second, at what cost, how soon the first, how evenly the rest."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import msgspec

from bench.load import Job, Load
from bench.processes import BenchError, ServerProcess, generate
from bench.scenario import Bench, Figures, Measure, quantile
from bench.systems import (
    CHAT,
    LITELLM_DOOR,
    MODEL,
    NO_PEER,
    OPENAI,
    Door,
    litellm,
    litellm_is_there,
    palaver,
    portkey,
    portkey_door,
    portkey_is_there,
)

NO_DOOR = "the door is not there yet"
PEERS = {
    "portkey": (portkey_door, portkey_is_there, portkey),
    "litellm": (lambda _model: LITELLM_DOOR, litellm_is_there, litellm),
}
PACE_MS = 20
PACED_TOKENS = 400


@dataclass(slots=True)
class Subject:
    """A server, how it is asked, and how many requests it has had."""

    door: Door
    server: ServerProcess
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of requests took."""

    load: Load
    requests: int
    tokens: int
    cpu_seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.load.seconds

    @property
    def cpu_ms(self) -> float:
        """Of the server, per request."""
        return 1000 * self.cpu_seconds / self.requests

    @property
    def cores(self) -> float:
        return self.cpu_seconds / self.load.seconds

    def first_ms(self, share: float) -> float:
        return 1000 * quantile(self.load.first, share)

    def gap_ms(self, share: float) -> float:
        return 1000 * quantile(self.load.gaps, share)


async def run(subject: Subject, model: str, requests: int, clients: int, *, ramp: float = 0.0) -> Sample:
    """Ask for that many replies over `clients` connections, which begin over `ramp` seconds."""
    job = subject.door.job(subject.server, model, requests, clients, first=subject.asked)
    subject.asked += requests
    before = subject.server.cpu_seconds()
    load = await generate(msgspec.structs.replace(job, ramp=ramp))
    return Sample(load, requests, job.tokens * requests, subject.server.cpu_seconds() - before)


@asynccontextmanager
async def subjects(bench: Bench, *, peers: bool = False) -> AsyncIterator[tuple[dict[str, Subject], dict[str, str]]]:
    """The systems to compare, warm, and why some are missing: `chat`, `v1`, `model`, `portkey`, `litellm`."""
    missing: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        folder = bench.new_folder("streams")
        server = await stack.enter_async_context(palaver(folder, bench.model, PALAVER_SERVER=bench.server))
        found = {"model": Subject(MODEL, bench.model), "chat": Subject(CHAT, server)}
        if await has_openai_door(server):
            found["v1"] = Subject(OPENAI, server)
        else:
            missing["v1"] = NO_DOOR
        if peers and not bench.smoke:
            for name, (door, is_there, start) in PEERS.items():
                if not is_there():
                    missing[name] = NO_PEER
                    continue
                try:
                    peer = await stack.enter_async_context(start(bench.folder, bench.model))
                except BenchError:
                    missing[name] = f"did not start (see {name}.log with --folder)"
                    continue
                found[name] = Subject(door(bench.model), peer)
        for subject in found.values():
            await run(subject, "t64", bench.scaled(max(16, subject.door.load // 8), 2), bench.scaled(8, 2))
        yield found, missing


async def has_openai_door(server: ServerProcess) -> bool:
    job = OPENAI.job(server, "t64", 1, 1)
    try:
        await generate(job)
    except BenchError:
        return False
    return True


def unpaced(clients: int) -> Measure:
    """64 tokens at once, `clients` of them at a time: every system, one after another, round by round."""

    async def measure(bench: Bench) -> Figures:
        figures = Figures()
        async with subjects(bench, peers=clients == 16) as (found, missing):
            for _ in range(bench.rounds):
                samples = {
                    name: await run(subject, "t64", _requests(bench, subject, clients), clients)
                    for name, subject in found.items()
                }
                for name, sample in samples.items():
                    figures.values[f"{name}_rate"].append(sample.tokens_per_second)
                    figures.values[f"{name}_cpu"].append(sample.cpu_ms)
                    figures.values[f"{name}_first"].append(sample.first_ms(0.5))
                    figures.values[f"{name}_rss"].append(found[name].server.rss() / 1e6)
                _add_ratios(figures, samples)
        for name, reason in missing.items():
            for key in ("rate", "cpu", "first", "rss"):
                figures.skipped[f"{name}_{key}"] = reason
            for ours in ("chat", "v1"):
                figures.skipped[f"{ours}_to_{name}"] = figures.skipped[f"{name}_to_portkey"] = reason
        return figures

    return measure


def _requests(bench: Bench, subject: Subject, clients: int) -> int:
    return max(bench.scaled(subject.door.load, 4), clients * bench.scaled(2, 1))


def _add_ratios(figures: Figures, samples: dict[str, Sample]) -> None:
    for ours in {"chat", "v1"} & samples.keys():
        for peer in {"portkey", "litellm"} & samples.keys():
            ratio = samples[ours].tokens_per_second / samples[peer].tokens_per_second
            figures.values[f"{ours}_to_{peer}"].append(ratio)


async def first_token(bench: Bench) -> Figures:
    """One client, one request after another: what each door adds to the model server's own time."""
    figures = Figures()
    requests = bench.scaled(300, 5)
    async with subjects(bench) as (found, missing):
        for _ in range(bench.rounds):
            own = await run(found["model"], "t64", requests, 1)
            for name in ("chat", "v1"):
                if name in found:
                    sample = await run(found[name], "t64", requests, 1)
                    for share in (0.5, 0.99):
                        added = sample.first_ms(share) - own.first_ms(share)
                        figures.values[f"{name}_p{share * 100:.0f}"].append(added)
                    figures.values[f"{name}_cpu"].append(sample.cpu_ms)
    for key in ("v1_p50", "v1_p99", "v1_cpu"):
        figures.skipped[key] = missing.get("v1", "")
    return figures


async def long_replies(bench: Bench) -> Figures:
    """2,000 tokens against 64: what each token more costs."""
    figures = Figures()
    long, requests, clients = bench.scaled(2000, 200), bench.scaled(96, 4), bench.scaled(16, 2)
    async with subjects(bench) as (found, missing):
        for _ in range(bench.rounds):
            for name in {"chat", "v1"} & found.keys():
                short = await run(found[name], "t64", requests * 2, clients)
                sample = await run(found[name], f"t{long}", requests, clients)
                figures.values[f"{name}_token"].append(1000 * (sample.cpu_ms - short.cpu_ms) / (long - 64))
                figures.values[f"{name}_rate"].append(sample.tokens_per_second)
    for key in ("v1_token", "v1_rate"):
        figures.skipped[key] = missing.get("v1", "")
    return figures


async def paced(bench: Bench) -> Figures:
    """Streams of 50 tokens a second: whether they keep their pace, and what gaps come up beyond the model's own."""
    figures = Figures()
    clients, tokens = bench.scaled(256, 8), bench.scaled(PACED_TOKENS, 20)
    model, ramp = f"t{tokens}-d{PACE_MS}", bench.scaled(3000, 100) / 1000
    nominal = (tokens - 1) * PACE_MS / 1000
    async with subjects(bench) as (found, missing):
        for _ in range(bench.rounds):
            own = await run(found["model"], model, clients, clients, ramp=ramp)
            for name in {"chat", "v1"} & found.keys():
                sample = await run(found[name], model, clients, clients, ramp=ramp)
                figures.values[f"{name}_gap"].append(sample.gap_ms(0.99) - own.gap_ms(0.99))
                figures.values[f"{name}_pace"].append(quantile(sample.load.whole, 0.99) / nominal)
                figures.values[f"{name}_cores"].append(sample.cores)
                figures.values[f"{name}_token"].append(1e6 * sample.cpu_seconds / sample.tokens)
    for key in ("v1_gap", "v1_pace", "v1_cores", "v1_token"):
        figures.skipped[key] = missing.get("v1", "")
    return figures


def hold(job: Job) -> Job:
    """The same job, its streams kept open."""
    return msgspec.structs.replace(job, announce=True, hold=True, ramp=0.5)
