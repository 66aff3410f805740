"""What checking a key costs: no look-up for a mistyped one, none for one that was just seen, and never a write."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, delete, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.auth.keytext import ALPHABET, is_well_formed, new_key_text
from app.auth.models import ApiKeyRow
from app.auth.service import ANONYMOUS, CACHE_SECONDS, LAST_USED_EVERY, KeyService
from app.crypto import SecretBox
from app.database.engine import open_database
from app.errors import Unauthorized
from tests.support.client import Client
from tests.support.server import Server

T = TypeVar("T")


class CountingDatabase:
    """Counts the transactions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reads = 0
        self.writes = 0
        self._database = open_database(url)

    async def read(self, act: Callable[[Connection], T]) -> T:
        self.reads += 1
        return await self._database.read(act)

    async def write(self, act: Callable[[Connection], T]) -> T:
        self.writes += 1
        return await self._database.write(act)

    async def close(self) -> None:
        await self._database.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[CountingDatabase]:
    database = CountingDatabase(database_url)
    yield database
    await database.close()


@pytest.fixture
def lone_keys(database: CountingDatabase, tmp_path: Path) -> KeyService:
    return KeyService(database, SecretBox(b"m" * 32), tmp_path / "keys.changed")


def test_a_key_ends_in_a_checksum_that_one_wrong_letter_breaks() -> None:
    key = new_key_text()
    assert key.startswith("plv_")
    assert is_well_formed(key)
    for place in range(len(key)):
        wrong = ALPHABET[(ALPHABET.find(key[place]) + 1) % len(ALPHABET)]
        assert not is_well_formed(key[:place] + wrong + key[place + 1 :])
    swapped = key[:8] + key[9] + key[8] + key[10:]
    assert swapped == key or not is_well_formed(swapped)
    assert not is_well_formed(key + "0")
    assert not is_well_formed("")


async def test_a_key_that_cannot_be_ours_is_refused_before_any_look_up(
    lone_keys: KeyService, database: CountingDatabase
) -> None:
    _, key = await lone_keys.create(name="test", scopes=["chat"])
    before = database.reads
    for wrong in ("", "x", "plv_", key[:-1], key + "0", key.lower(), key.replace("plv_", "plw_"), "sk-" + "a" * 48):
        with pytest.raises(Unauthorized, match="Invalid API key"):
            await lone_keys.verify(wrong)
    assert database.reads == before


async def test_a_key_that_was_seen_is_not_looked_up_again(lone_keys: KeyService, database: CountingDatabase) -> None:
    api_key, key = await lone_keys.create(name="test", scopes=["chat"])
    before = database.reads
    for _ in range(100):
        assert (await lone_keys.verify(key)).key_id == api_key.id
    assert database.reads == before + 1


async def test_a_remembered_key_is_looked_up_again_after_a_while(
    lone_keys: KeyService, database: CountingDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_key, key = await lone_keys.create(name="test", scopes=["chat"])
    await lone_keys.verify(key)
    await database.write(lambda connection: connection.execute(delete(ApiKeyRow)))  # behind the service's back
    assert (await lone_keys.verify(key)).key_id == api_key.id
    later = time.monotonic() + CACHE_SECONDS + 1
    monkeypatch.setattr("app.auth.service.time.monotonic", lambda: later)
    with pytest.raises(Unauthorized):
        await lone_keys.verify(key)


async def test_defect_6_no_password_hash_and_no_write_stand_in_a_requests_way(
    lone_keys: KeyService, database: CountingDatabase
) -> None:
    _, key = await lone_keys.create(name="test", scopes=["chat"])
    await lone_keys.verify(key)
    writes = database.writes
    started = time.process_time()
    for _ in range(1000):
        await lone_keys.verify(key)
    # A hundred thousand rounds of PBKDF2, as AstrBot had it, take 30 ms each time.
    assert time.process_time() - started < 0.5
    assert database.writes == writes


@pytest.mark.databases("sqlite")  # PRAGMA data_version tells
async def test_defect_6_requests_do_not_write(server: Server, admin: Client) -> None:
    await admin.get("/api/v1/im/bots")
    engine = create_async_engine(server.core.database.url)
    async with engine.connect() as connection:
        # `data_version` moves when any other connection has committed a change.
        before = (await connection.execute(text("PRAGMA data_version"))).scalar_one()
        for _ in range(20):
            assert (await admin.get("/api/v1/im/bots")).status_code == 200
        assert (await connection.execute(text("PRAGMA data_version"))).scalar_one() == before
    await engine.dispose()


async def test_when_a_key_was_last_used_is_stored_off_the_path_in_one_write(
    lone_keys: KeyService, database: CountingDatabase
) -> None:
    texts = {}
    for name in ("one", "two", "unused"):
        _, texts[name] = await lone_keys.create(name=name, scopes=["chat"])
    for name in ("one", "two", "one"):
        await lone_keys.verify(texts[name])
    writes = database.writes
    await lone_keys.write_last_used()
    assert database.writes == writes + 1
    usage = {key.name: key.last_used_at is not None for key in await lone_keys.list_keys()}
    assert usage == {"one": True, "two": True, "unused": False}
    await lone_keys.write_last_used()
    assert database.writes == writes + 1
    assert timedelta(minutes=1) <= LAST_USED_EVERY


async def test_when_a_key_was_last_used_is_shown(admin: Client, keys: KeyService) -> None:
    await admin.get("/api/v1/im/bots")
    await keys.write_last_used()
    item = (await admin.get("/api/v1/api-keys")).json()["data"]["api_keys"][0]
    assert item["last_used_at"] >= item["created_at"]


@pytest.mark.databases("sqlite")  # the files are read
async def test_only_a_keyed_hash_is_stored(lone_keys: KeyService, database: CountingDatabase) -> None:
    api_key, key = await lone_keys.create(name="test", scopes=["chat"])
    query = select(ApiKeyRow).where(ApiKeyRow.id == api_key.id)
    row = await database.read(lambda connection: connection.execute(query).one())
    assert row.digest == SecretBox(b"m" * 32).digest(key.encode()) != SecretBox(b"n" * 32).digest(key.encode())
    content = b"\n".join(path.read_bytes() for path in Path(database.url.partition("///")[2]).parent.iterdir())
    assert key.encode() not in content
    assert key[len(api_key.prefix) :].encode() not in content


async def test_a_long_connection_ends_with_the_text_that_opened_it(lone_keys: KeyService) -> None:
    api_key, key = await lone_keys.create(name="test", scopes=["chat"])
    principal = await lone_keys.verify(key)
    assert await lone_keys.is_live(principal)
    await lone_keys.rotate(api_key.id, overlap=timedelta(hours=1))
    assert await lone_keys.is_live(principal)
    _, newest = await lone_keys.rotate(api_key.id)
    assert not await lone_keys.is_live(principal)
    principal = await lone_keys.verify(newest)
    await lone_keys.revoke(api_key.id)
    assert not await lone_keys.is_live(principal)
    assert await lone_keys.is_live(ANONYMOUS)
