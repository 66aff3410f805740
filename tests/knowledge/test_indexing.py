"""Indexing in the background: its states, its failures, and what a crash or a restart makes of it."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import delete, update

from app.clock import utc_now
from app.database.engine import open_database
from app.database.errors import DatabaseUnavailable
from app.files.models import AttachmentRow
from app.knowledge.models import DocumentRow
from app.knowledge.store import LEASE, IndexStore, Lease
from tests.conftest import StartServer
from tests.knowledge.conftest import ROOT, Library, rows, stored
from tests.support import answers
from tests.support.answers import Answer, raw, status
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess
from tests.support.server import Server

HEADERS = {"X-API-Key": API_KEY}
# Longer than what is made into passages in a thread.
LONG = "\n\n".join(f"Paragraph {number}: " + f"ferns of kind {number} like the shade. " * 12 for number in range(150))


async def test_the_states_end_with_every_passage_once(library: Library) -> None:
    collection_id = (await library.create())["collection_id"]
    added = await library.add(collection_id, LONG)
    ready = await library.until(added)
    assert (ready["status"], ready["error_code"]) == ("ready", None)
    passages = await library.passages(ready)
    assert [each["position"] for each in passages] == list(range(ready["passage_count"]))
    joined = " ".join(each["text"] for each in passages)
    assert all(f"Paragraph {number}:" in joined for number in range(150))


async def test_a_document_that_cannot_be_read_says_why_and_is_tried_again(library: Library, server: Server) -> None:
    collection_id = (await library.create())["collection_id"]
    broken = b"%PDF-1.7\nnothing of the kind"
    added = (await library.upload(collection_id, broken, "report.pdf")).json()["data"]
    failed = await library.until(added)
    assert (failed["status"], failed["error_code"]) == ("failed", "document_broken")
    assert failed["error"].startswith("report.pdf cannot be read: ")
    again = await library.upload(collection_id, broken, "again.pdf")
    assert (again.status_code, again.json()["data"]["document_id"]) == (200, failed["document_id"])
    assert again.json()["data"]["status"] == "queued"
    failed = await library.until(failed)
    assert (failed["status"], failed["title"]) == ("failed", "again.pdf")
    assert await rows(server, "attachments") == 1  # the one of the first try is gone


async def test_a_text_beyond_the_limit_is_cut_and_says_so(start_server: StartServer) -> None:
    async with started(start_server, max_knowledge_document_chars=1000) as library:
        collection_id = (await library.create())["collection_id"]
        ready = await library.until(await library.add(collection_id, "Ferns like shade. " * 100))
        assert (ready["status"], ready["truncated"]) == ("ready", True)
        assert "only the first 1,000 characters" in ready["notes"][-1]


async def test_passages_have_the_vectors_of_the_profiles_model(
    library: Library, server: Server, model: ModelServer, data_dir: Path
) -> None:
    (data_dir / "configs" / "vectors.toml").write_text('[knowledge]\nembedding_model = "embed"\n')
    collection = await library.create(config_id="vectors")
    assert collection["embedding_model"] == "embed"
    model.script(status(503))  # away for a moment
    model.default = embeddings
    ready = await library.until(await library.add(collection["collection_id"]))
    assert (ready["status"], ready["error"]) == ("ready", None)
    assert await rows(server, "knowledge_vectors") == ready["passage_count"]
    assert (model.requests[-1].path, model.requests[-1].body["model"]) == ("/v1/embeddings", "embed")

    model.default = lambda body: status(401)
    failed = await library.until(await library.add(collection["collection_id"], "Another text"))
    assert (failed["status"], failed["error_code"]) == ("failed", "embeddings_failed")


def embeddings(body: Mapping[str, Any]) -> Answer:
    data = [{"object": "embedding", "index": index, "embedding": [1.0, 2.0]} for index in range(len(body["input"]))]
    return raw(json.dumps({"object": "list", "data": data}).encode(), "application/json")


async def test_a_database_that_is_away_costs_nothing_but_time(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before the server is started, which takes the value then.
    monkeypatch.setattr("app.knowledge.indexer.RETRY_SECONDS", 0.01)
    # Where another process may be at work on it, a document is taken back after its lease.
    monkeypatch.setattr("app.knowledge.store.LEASE", timedelta())
    failures = 2
    add_passages = IndexStore.add_passages

    async def flaky(store: IndexStore, *args: Any, **options: Any) -> None:
        nonlocal failures
        await add_passages(store, *args, **options)
        if failures:  # what was written stays, as when only the answer was lost
            failures -= 1
            raise DatabaseUnavailable

    monkeypatch.setattr(IndexStore, "add_passages", flaky)
    async with started(start_server) as library:
        collection_id = (await library.create())["collection_id"]
        ready = await library.until(await library.add(collection_id, LONG))
        assert (ready["status"], failures) == ("ready", 0)
        assert [each["position"] for each in await library.passages(ready)] == list(range(ready["passage_count"]))


@pytest.mark.databases("postgresql")
async def test_a_document_is_another_servers_while_that_one_lives_and_taken_over_when_it_is_gone(
    start_server: StartServer, model: ModelServer, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.knowledge.store.LEASE", timedelta(seconds=1))
    monkeypatch.setattr("app.knowledge.store.RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr("app.knowledge.indexer.LOOK_SECONDS", 0.1)
    async with AsyncExitStack() as stack:
        dying = AsyncExitStack()
        one = await dying.enter_async_context(start_server())
        (data_dir / "configs" / "vectors.toml").write_text('[knowledge]\nembedding_model = "embed"\n')
        other = await stack.enter_async_context(start_server())
        library = await stack.enter_async_context(Library(other, await other.new_key("knowledge")))
        model.script(answers.hang())
        model.default = embeddings
        async with Library(one, await one.new_key("knowledge")) as adding:
            collection = await adding.create(config_id="vectors")
            added = await adding.add(collection["collection_id"])
            await model.wait_for_requests(1)
        await asyncio.sleep(2.5)  # longer than a lease that nobody renews
        assert ((await library.document(added))["status"], len(model.requests)) == ("indexing", 1)
        await dying.aclose()
        async with asyncio.timeout(20):
            ready = await library.until(added)
        assert (ready["status"], len(await library.passages(ready))) == ("ready", ready["passage_count"])


async def test_a_document_that_is_deleted_while_it_is_indexed_leaves_nothing(
    library: Library, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection_id = (await library.create())["collection_id"]
    add_passages = IndexStore.add_passages

    async def deleting(store: IndexStore, lease: Lease, *args: Any, **options: Any) -> None:
        await add_passages(store, lease, *args, **options)
        if lease.document.title == "doomed":
            await library.call("DELETE", f"/collections/{collection_id}/documents/{lease.document.id}")

    monkeypatch.setattr(IndexStore, "add_passages", deleting)
    await library.add(collection_id, LONG, title="doomed")
    after = await library.until(await library.add(collection_id, "Something else"))
    assert after["status"] == "ready"
    async with asyncio.timeout(20):
        while await rows(server, "knowledge_documents") > 1:
            await asyncio.sleep(0.02)
    assert await rows(server, "knowledge_passages") == await rows(server, "attachments") == 1


async def test_what_a_stop_left_unfinished_is_finished_after_the_start(
    start_server: StartServer, data_dir: Path, database_url: str
) -> None:
    states = ("queued", "extracting", "indexing")
    async with start_server() as server, Library(server, await server.new_key("knowledge")) as library:
        collection_id = (await library.create())["collection_id"]
        added = [await library.add(collection_id, f"{state}\n\n{LONG}", title=state) for state in states]
        lost = await library.until(await library.add(collection_id, "bytes and row are gone"))
        deleted = await library.until(await library.add(collection_id, "to be deleted"))
        for document in added:
            await library.until(document)
    # As a crash leaves them, longer ago than a lease: in the middle, with passages of theirs written.
    long_ago = utc_now() - 2 * LEASE
    await change(
        database_url,
        *(
            update(DocumentRow).where(DocumentRow.title == state).values(status=state, updated_at=long_ago)
            for state in states
        ),
        update(DocumentRow).where(DocumentRow.id == lost["document_id"]).values(status="queued"),
        delete(AttachmentRow).where(AttachmentRow.id == lost["attachment_id"]),
        update(DocumentRow).where(DocumentRow.id == deleted["document_id"]).values(status="deleting"),
    )
    async with started(start_server) as library:
        for document in added:
            ready = await library.until(document)
            positions = [each["position"] for each in await library.passages(ready)]
            assert (ready["status"], positions) == ("ready", list(range(ready["passage_count"])))
        failed = await library.until(lost)
        assert (failed["status"], failed["error_code"], failed["passage_count"]) == (
            "failed",
            "attachment_not_found",
            0,
        )
        async with asyncio.timeout(20):
            while len(stored(data_dir)) > len(states) + 1:  # and the bytes whose row is gone
                await asyncio.sleep(0.02)


async def test_kill_9_while_indexing_leaves_each_passage_once(data_dir: Path, template: Path) -> None:
    data_dir.mkdir()
    shutil.copy(template, data_dir / "palaver.db")
    process = ServerProcess(data_dir)
    content = "\n\n".join(f"Line {number}. " + f"{number} ferns like shade and water. " * 20 for number in range(1000))
    try:
        await process.start()
        async with httpx2.AsyncClient(base_url=process.base_url, headers=HEADERS, trust_env=False, timeout=60) as http:
            collection = (await http.post(f"{ROOT}/collections", json={"name": "garden"})).json()["data"]
            path = f"{ROOT}/collections/{collection['collection_id']}/documents"
            document = (await http.post(path, files={"file": ("long.txt", content.encode())})).json()["data"]
            path = f"{path}/{document['document_id']}"
            async with asyncio.timeout(60):
                while (await http.get(path)).json()["data"]["passage_count"] == 0:
                    await asyncio.sleep(0.005)
        await process.kill()
        assert count(data_dir, "knowledge_passages") > 0
        assert state(data_dir) == "indexing"

        await process.start()
        async with httpx2.AsyncClient(base_url=process.base_url, headers=HEADERS, trust_env=False, timeout=60) as http:
            async with asyncio.timeout(60):
                while (document := (await http.get(path)).json()["data"])["status"] not in ("ready", "failed"):
                    await asyncio.sleep(0.05)
            passages = (await http.post(f"{ROOT}/search", json={"query": "Line 999"})).json()["data"]["passages"]
        assert await process.end() == 0
    finally:
        await process.close()
    assert document["status"] == "ready"
    assert "Line 999." in passages[0]["text"]
    positions = [row[0] for row in query(data_dir, "SELECT position FROM knowledge_passages ORDER BY position")]
    assert positions == list(range(document["passage_count"]))
    assert count(data_dir, "knowledge_terms") == len(positions)


@asynccontextmanager
async def started(start_server: StartServer, **settings: Any) -> AsyncIterator[Library]:
    async with start_server(**settings) as server, Library(server, await server.new_key("knowledge")) as library:
        yield library


async def change(database_url: str, *statements: Any) -> None:
    """Execute statements while no server is running."""
    database = open_database(database_url)
    await database.write(lambda connection: [connection.execute(statement) for statement in statements])
    await database.close()


def query(data_dir: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(data_dir / "palaver.db")) as connection:
        return connection.execute(sql).fetchall()


def count(data_dir: Path, table: str) -> int:
    return int(query(data_dir, f"SELECT count(*) FROM {table}")[0][0])


def state(data_dir: Path) -> str:
    return str(query(data_dir, "SELECT status FROM knowledge_documents")[0][0])


async def test_owners_of_documents_take_turns(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    begun, go_on = asyncio.Event(), asyncio.Event()
    begin_passages = IndexStore.begin_passages

    async def waiting(store: IndexStore, lease: Lease) -> None:
        order.append(lease.document.title)
        begun.set()
        await go_on.wait()
        await begin_passages(store, lease)

    monkeypatch.setattr(IndexStore, "begin_passages", waiting)
    async with (
        Library(server, await server.new_key("knowledge", username="mallory")) as flooding,
        Library(server, await server.new_key("knowledge", username="alice")) as other,
    ):
        flooded = (await flooding.create())["collection_id"]
        queued = [await flooding.add(flooded, f"text {number}", title=f"m{number}") for number in range(4)]
        await begun.wait()
        added = [await other.add((await other.create())["collection_id"], "short", title="a0")]
        go_on.set()
        assert (await other.until(added[0]))["status"] == "ready"
        await flooding.until(queued[-1])
    assert order == ["m0", "a0", "m1", "m2", "m3"]
