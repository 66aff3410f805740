"""The knowledge base: how well it finds, and how fast it indexes and searches beside chats."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from bench.generated import Language, chinese, english
from bench.load import Job, Load
from bench.processes import BenchError, ServerProcess, generate, generating
from bench.retrieval import server as embeddings
from bench.retrieval.evaluate import Asked, places, quality, relevance
from bench.retrieval.library import library
from bench.retrieval.questions import Question, read_corpus, read_questions
from bench.scenario import Bench, Figures, quantile
from bench.systems import API_KEY, CHAT, palaver, post

CLIENTS = 16
PACE_MS = 20
INDEX_SECONDS = 900.0
_HEADERS = {"X-API-Key": API_KEY}
_JSON = {"Content-Type": "application/json"}
_COLLECTION = "bench"


async def retrieval(bench: Bench) -> Figures:
    """The questions about the corpus, by words alone and, where the local embedding is there, with vectors too."""
    figures = Figures()
    texts, questions = read_corpus(), read_questions()
    if bench.smoke:
        texts, questions = texts[:5], [question for question in questions if _is_about(question, texts[0].name)]
    folder = bench.new_folder("retrieval").parent
    folder.mkdir(parents=True)
    async with library(folder / "words.db", texts) as shelf:
        _add_quality(figures, "words", await places(shelf, questions))
        if not bench.smoke:
            found = await relevance(shelf, questions)
            figures.add(silent=100 * found.silent, lost=100 * found.lost)
    if bench.smoke or not embeddings.is_there():
        reason = "not run in a smoke test" if bench.smoke else embeddings.NOT_THERE
        figures.skipped |= {"fused_3": reason, "fused_mrr": reason}
        return figures
    async with embeddings.local_embeddings(folder) as local, library(folder / "fused.db", texts, local) as shelf:
        _add_quality(figures, "fused", await places(shelf, questions))
    return figures


def _is_about(question: Question, document: str) -> bool:
    return any(answer.document == document for answer in question.answers)


def _add_quality(figures: Figures, name: str, asked: Sequence[Asked]) -> None:
    for suffix, lang in (("", None), ("_en", "en"), ("_zh", "zh")):
        if any(lang in (None, each.question.lang) for each in asked):
            found = quality(asked, lang)
            figures.add(**{f"{name}_3{suffix}": found.recall_3, f"{name}_mrr{suffix}": found.reciprocal_rank})


async def knowledge(bench: Bench) -> Figures:
    """100,000 passages: half of them indexed alone, half beside chats; then searched, alone and beside chats."""
    figures = Figures()
    source = random.Random(3)
    languages = (english(), chinese())
    documents, passages = bench.scaled(200, 4), bench.scaled(500, 20)
    async with (
        palaver(bench.new_folder("knowledge"), bench.model, PALAVER_SERVER=bench.server) as server,
        aiohttp.ClientSession(f"http://{server.host}:{server.port}", headers=_HEADERS) as http,
    ):
        own = (await generate(_stream(bench, server, "idle", 1))).gaps
        shelf = _Shelf(http)
        await shelf.create()
        texts = _texts(languages, source, documents // 2, passages)
        figures.add(rate=await shelf.index(texts))
        texts = _texts(languages, source, documents // 2, passages)
        beside, rate = await _index_beside_chats(bench, server, shelf, texts)
        figures.add(
            rate_beside=rate, gap_idle=1000 * quantile(own, 0.99), gap_beside=1000 * quantile(beside.gaps, 0.99)
        )
        figures.add(rss=server.rss() / 1e6)
        for number in range(bench.rounds):
            await _search(bench, server, figures, languages, source, number)
    return figures


def _texts(languages: Sequence[Language], source: random.Random, documents: int, passages: int) -> list[str]:
    """Documents in turns of each language."""
    return [languages[number % len(languages)].document(source, passages) for number in range(documents)]


async def _index_beside_chats(
    bench: Bench, server: ServerProcess, shelf: "_Shelf", texts: Sequence[str]
) -> tuple[Load, float]:
    """What the chats saw while the texts were indexed, and passages per second."""
    job = msgspec.structs.replace(_stream(bench, server, "indexing", bench.scaled(2, 1)), announce=True)
    async with generating(job) as chats:
        await chats.announced()
        indexing = asyncio.create_task(shelf.index(texts))
        try:
            load = await chats.result()
            return load, await indexing
        finally:
            indexing.cancel()


async def _search(
    bench: Bench,
    server: ServerProcess,
    figures: Figures,
    languages: Sequence[Language],
    source: random.Random,
    number: int,
) -> None:
    """A round of questions: alone, beside paced chats, and beside chats that take all that the server has."""
    count = bench.scaled(300, 4)
    alone = await generate(_questions(server, languages, source, count))
    paced = msgspec.structs.replace(_stream(bench, server, f"search-{number}", bench.scaled(3, 1)), announce=True)
    async with generating(paced) as chats:
        await chats.announced()
        beside = await generate(_questions(server, languages, source, count))
    texts = _chats(f"busy-{number}", "t64", bench.scaled(4000, 8))
    busy = Job(server.host, server.port, bench.scaled(CLIENTS, 2), texts, CHAT.marker, CHAT.expect, announce=True)
    async with generating(busy) as chats:
        await chats.announced()
        crowded = await generate(_questions(server, languages, source, bench.scaled(100, 4)))
    for name, load in (("alone", alone), ("beside", beside), ("crowded", crowded)):
        figures.add(
            **{f"{name}_p50": 1000 * quantile(load.whole, 0.5), f"{name}_p99": 1000 * quantile(load.whole, 0.99)}
        )


def _questions(server: ServerProcess, languages: Sequence[Language], source: random.Random, count: int) -> Job:
    """Searches one after another, no two alike, in turns of each language."""
    texts = [
        post(
            "/api/v1/knowledge/search",
            _HEADERS,
            {"query": languages[number % len(languages)].question(source), "collections": [_COLLECTION], "limit": 5},
        )
        for number in range(count)
    ]
    return Job(server.host, server.port, 1, texts, '"passages"', '"passages"')


def _stream(bench: Bench, server: ServerProcess, name: str, each: int) -> Job:
    """Chats of 16 clients at 50 tokens a second, `each` of eight seconds for every client."""
    clients, tokens = bench.scaled(CLIENTS, 2), bench.scaled(400, 20)
    texts = _chats(name, f"t{tokens}-d{PACE_MS}", clients * each)
    return Job(server.host, server.port, clients, texts, CHAT.marker, CHAT.expect, tokens=tokens)


def _chats(name: str, model: str, count: int) -> list[str]:
    bodies = ({**CHAT.body(model, number), "session_id": f"{name}-{number}"} for number in range(count))
    return [post(CHAT.path, CHAT.headers, body) for body in bodies]


class _Shelf:
    """A collection, filled over HTTP."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._id = ""
        self._documents = 0

    async def create(self) -> None:
        data = await self._call("POST", "/api/v1/knowledge/collections", {"name": _COLLECTION})
        self._id = data["collection_id"]

    async def index(self, texts: Sequence[str]) -> float:
        """Add the texts as documents and wait until each is ready: passages per second. Raises BenchError."""
        before = (await self._collection())["passage_count"]
        began = time.perf_counter()
        for text in texts:
            self._documents += 1
            body = {"title": f"Document {self._documents}", "text": text}
            await self._call("POST", f"/api/v1/knowledge/collections/{self._id}/documents", body)
        async with asyncio.timeout(INDEX_SECONDS):
            while not await self._all_ready():
                await asyncio.sleep(0.1)
        seconds = time.perf_counter() - began
        return float((await self._collection())["passage_count"] - before) / seconds

    async def _all_ready(self) -> bool:
        ready, failed = [await self._count(status) for status in ("ready", "failed")]
        if failed:
            raise BenchError(f"{failed} documents failed")
        return ready == self._documents

    async def _count(self, status: str) -> int:
        path = f"/api/v1/knowledge/collections/{self._id}/documents?page_size=1&status={status}"
        return int((await self._call("GET", path))["total"])

    async def _collection(self) -> dict[str, Any]:
        return await self._call("GET", f"/api/v1/knowledge/collections/{self._id}")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else msgspec.json.encode(body)
        async with self._http.request(method, path, data=data, headers=_JSON) as response:
            if response.status >= 300:
                raise BenchError(f"{method} {path}: {response.status} {(await response.text())[:500]}")
            answer: dict[str, Any] = (await response.json())["data"]
            return answer
