"""Backups: whole or not at all, taken while the server writes, and put back only when every byte is right."""

import asyncio
import errno
import io
import os
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.backup.archive import BackupError
from app.backup.create import back_up
from app.backup.restore import finish_restore, restore
from app.database.checking import problems
from app.database.engine import sqlite_url
from app.database.migrations import head
from tests.conftest import StartServer
from tests.knowledge.conftest import Library
from tests.support.client import Client, text_of
from tests.support.server import Server

pytestmark = pytest.mark.databases("sqlite", reason="backups are of the embedded database")


@pytest.fixture
async def filled(server: Server, client: Client, data_dir: Path) -> AsyncIterator[Path]:
    """The data folder of a server at work: a conversation, two attachments, a profile."""
    await client.chat("Hello", session_id="s1")
    for name in ("a.txt", "b.txt"):
        response = await client.request("POST", "/api/v1/file", files={"file": (name, name.encode() * 1000)})
        assert response.status_code == 200
    (data_dir / "palaver.toml").write_text('openai_model = "m"\n')
    yield data_dir


def members_of(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def rewritten(file: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    """The backup with other members."""
    archive = file.with_name("changed.tar")
    with tarfile.open(archive, "w") as tar:
        for name, data in change(members_of(file)).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive


def tree_of(folder: Path) -> dict[str, bytes]:
    """The files that count: not locks, not what SQLite keeps beside its file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm"))
    }


def messages_in(data_dir: Path) -> list[str]:
    with closing(sqlite3.connect(data_dir / "palaver.db")) as connection:
        return [row[0] for row in connection.execute("SELECT parts FROM messages ORDER BY id")]


async def test_a_backup_holds_everything_and_is_for_its_owner_only(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    report = back_up(filled, file)
    assert (report.attachments, report.missing, report.has_key) == (2, 0, True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    members = members_of(file)
    assert list(members)[-1] == "manifest.json"
    assert {"palaver.db", "palaver.toml", "secret.key", "configs/default.toml"} < members.keys()
    assert sorted(data[:5] for name, data in members.items() if name.startswith("attachments/")) == [b"a.txt", b"b.txt"]
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == ["backup.tar"]


async def test_what_was_backed_up_comes_back(
    start_server: StartServer, filled: Path, client: Client, tmp_path: Path
) -> None:
    back_up(filled, tmp_path / "backup.tar")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    restored = restore(fresh, tmp_path / "backup.tar")
    assert (restored.before, restored.manifest.revision) == (None, head())
    assert problems(sqlite_url(fresh / "palaver.db")) == []
    before = {name: data for name, data in tree_of(filled).items() if name != "palaver.db"}
    after = {name: data for name, data in tree_of(fresh).items() if name != "palaver.db"}
    assert after == {name: data for name, data in before.items() if name in after}
    assert before.keys() - after.keys() <= {"keys.changed", "server.id", "attachments.databases"}
    async with start_server(data_dir=fresh) as server, Client(server, client.key) as second:
        assert [m["role"] for m in await second.history("s1")] == ["user", "assistant"]
        assert text_of(await second.chat("And on", session_id="s1")) == "You said: And on"


async def test_what_was_indexed_is_found_after_a_restore(
    start_server: StartServer, server: Server, filled: Path, tmp_path: Path
) -> None:
    async with Library(server, await server.new_key("knowledge")) as library:
        await library.until(await library.add((await library.create())["collection_id"]))
        back_up(filled, tmp_path / "backup.tar")
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        restore(fresh, tmp_path / "backup.tar")
        assert problems(sqlite_url(fresh / "palaver.db")) == []
        before = await library.search("old trees")
        key = library.key
    async with start_server(data_dir=fresh) as restored, Library(restored, key) as library:
        assert await library.search("old trees") == before != []


async def test_a_backup_during_writes_is_one_moments_state(filled: Path, client: Client, tmp_path: Path) -> None:
    writing = [asyncio.create_task(client.chat(f"m{n}", session_id=f"w{n % 8}")) for n in range(80)]
    uploads = [
        asyncio.create_task(client.request("POST", "/api/v1/file", files={"file": (f"{n}.txt", b"text" * 99)}))
        for n in range(40)
    ]
    files = [tmp_path / f"backup{n}.tar" for n in range(5)]
    for file in files:
        await asyncio.to_thread(back_up, filled, file)
    await asyncio.gather(*writing, *uploads)
    for number, file in enumerate(files):
        folder = tmp_path / f"restored{number}"
        folder.mkdir()
        restore(folder, file)
        with closing(sqlite3.connect(folder / "palaver.db")) as connection:
            (odd,) = connection.execute(
                "SELECT count(*) FROM runs LEFT JOIN messages ON messages.id IN (user_message_id, reply_message_id)"
                " GROUP BY runs.id HAVING count(*) != 2"
            ).fetchone() or (0,)
            keys = [row[0] for row in connection.execute("SELECT storage_key FROM attachments")]
        assert odd == 0
        assert all((folder / "attachments" / key).is_file() for key in keys)


async def test_an_attachment_that_is_deleted_meanwhile_is_not_in_it(
    filled: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.request("POST", "/api/v1/file", files={"file": ("c.txt", b"c")})
    with closing(sqlite3.connect(filled / "palaver.db")) as connection:
        (last,) = connection.execute("SELECT id FROM attachments ORDER BY storage_key DESC LIMIT 1").fetchone()
    add, loop = tarfile.TarFile.addfile, asyncio.get_running_loop()

    def delete_and_add(tar: tarfile.TarFile, *arguments: Any) -> None:
        """When the first attachment is added, the database has been copied, and the last attachment not."""
        monkeypatch.setattr(tarfile.TarFile, "addfile", add)
        deleting = asyncio.run_coroutine_threadsafe(client.request("DELETE", f"/api/v1/files/{last}"), loop)
        assert deleting.result(10).status_code == 200
        add(tar, *arguments)

    monkeypatch.setattr(tarfile.TarFile, "addfile", delete_and_add)
    report = await asyncio.to_thread(back_up, filled, tmp_path / "backup.tar")
    assert (report.attachments, report.missing) == (2, 0)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    restore(fresh, tmp_path / "backup.tar")
    with closing(sqlite3.connect(fresh / "palaver.db")) as connection:
        assert connection.execute("SELECT count(*) FROM attachments").fetchone() == (2,)


async def test_an_attachment_without_bytes_is_told(filled: Path, tmp_path: Path) -> None:
    next(path for path in (filled / "attachments").rglob("*") if path.is_file()).unlink()
    report = back_up(filled, tmp_path / "backup.tar")
    assert (report.attachments, report.missing) == (1, 1)


async def test_nothing_is_written_over(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar"
    file.write_text("mine")
    with pytest.raises(BackupError, match="exists already"):
        back_up(filled, file)
    assert file.read_text() == "mine"


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no database"):
        back_up(tmp_path, tmp_path / "backup.tar")


@pytest.mark.parametrize("writes", [0, 1, 3])
async def test_a_full_disk_leaves_no_file(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    add = tarfile.TarFile.addfile
    remaining = [writes]

    def addfile(tar: tarfile.TarFile, *arguments: object) -> None:
        if not remaining[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        remaining[0] -= 1
        add(tar, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tarfile.TarFile, "addfile", addfile)
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(BackupError, match="No space left"):
        back_up(filled, folder / "backup.tar")
    assert list(folder.iterdir()) == []


async def test_a_truncated_backup_is_refused_wherever_it_was_cut(filled: Path, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "backup.tar")
    data = (tmp_path / "backup.tar").read_bytes()
    with tarfile.open(tmp_path / "backup.tar") as tar:
        places = [place for info in tar for place in (info.offset, info.offset_data, info.offset_data + info.size)]
    whole = places.pop()  # the end of the manifest: what follows is padding
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for length in {1, 511, len(data) // 2, whole - 1, *places, *(place - 1 for place in places if place)}:
        cut = tmp_path / "cut.tar"
        cut.write_bytes(data[:length])
        with pytest.raises(BackupError):
            restore(fresh, cut)
        assert tree_of(fresh) == {}


async def test_a_changed_byte_is_found_wherever_it_is(filled: Path, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "backup.tar")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for name in members_of(tmp_path / "backup.tar"):

        def change(members: dict[str, bytes], name: str = name) -> dict[str, bytes]:
            data = bytearray(members[name])
            data[len(data) // 2] ^= 1
            return {**members, name: bytes(data)}

        with pytest.raises(BackupError):
            restore(fresh, rewritten(tmp_path / "backup.tar", change))
    assert tree_of(fresh) == {}


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "configs/../../evil", "palaver.lock", "attachments/../../x"])
async def test_names_that_lead_out_of_the_folder_are_refused(filled: Path, tmp_path: Path, name: str) -> None:
    back_up(filled, tmp_path / "backup.tar")
    fresh = tmp_path / "inner" / "fresh"
    fresh.mkdir(parents=True)
    archive = rewritten(tmp_path / "backup.tar", lambda members: {name: b"evil", **members})
    with pytest.raises(BackupError, match="not a backup"):
        restore(fresh, archive)
    assert tree_of(tmp_path / "inner") == {}


async def test_links_and_devices_are_refused(filled: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        with tarfile.open(tmp_path / "links.tar", "w") as tar:
            info = tarfile.TarInfo("palaver.db")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        with pytest.raises(BackupError, match="not a backup"):
            restore(fresh, tmp_path / "links.tar")
    assert tree_of(fresh) == {}


@pytest.mark.parametrize("headers", [{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, {}])
async def test_members_with_holes_are_refused_before_they_are_written(
    filled: Path, tmp_path: Path, headers: dict[str, str]
) -> None:
    back_up(filled, tmp_path / "backup.tar")
    members = members_of(tmp_path / "backup.tar")
    size = 4 * 1024**3
    archive = tmp_path / "sparse.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT if headers else tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("palaver.db")
        if headers:
            data = b"1\n%d\n1\n".ljust(512, b"\0") % (size - 1) + b"x"
            info.pax_headers = {**headers, "GNU.sparse.name": "palaver.db", "GNU.sparse.realsize": str(size)}
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        else:
            tar.fileobj.write(_old_gnu_sparse(size))
            tar.offset += 1024
        manifest = tarfile.TarInfo("manifest.json")
        manifest.size = len(members["manifest.json"])
        tar.addfile(manifest, io.BytesIO(members["manifest.json"]))
    with pytest.raises(BackupError, match=r"'palaver\.db' is sparse"):
        (tmp_path / "new").mkdir()
        restore(tmp_path / "new", archive)
    assert list((tmp_path / "new").glob("restoring-*")) == []


def _old_gnu_sparse(size: int) -> bytes:
    """A member of one byte, at the end of a hole."""
    info = tarfile.TarInfo("palaver.db")
    info.size = 1
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398], header[398:410] = b"%011o\0" % (size - 1), b"%011o\0" % 1
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header[:512]) + b"x".ljust(512, b"\0")


async def test_a_backup_larger_than_the_disks_room_is_refused(filled: Path, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "backup.tar")
    with (tmp_path / "backup.tar").open("r+b") as file:
        file.truncate(shutil.disk_usage(tmp_path).free + 1024**3)
    with pytest.raises(BackupError, match=r"and the disk of .* has room for"):
        (tmp_path / "new").mkdir()
        restore(tmp_path / "new", tmp_path / "backup.tar")


async def test_a_backup_of_a_newer_version_is_refused(filled: Path, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "backup.tar")

    def newer(members: dict[str, bytes]) -> dict[str, bytes]:
        manifest = msgspec.json.decode(members["manifest.json"])
        return {**members, "manifest.json": msgspec.json.encode({**manifest, "format": 99})}

    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with pytest.raises(BackupError, match="format 99"):
        restore(fresh, rewritten(tmp_path / "backup.tar", newer))


async def test_restoring_over_data_asks_first_and_keeps_it(
    start_server: StartServer, data_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    async with start_server() as server, Client(server, await server.new_key()) as client:
        await client.chat("first", session_id="s1")
        back_up(data_dir, file)
        await client.chat("second", session_id="s1")
        await client.request("POST", "/api/v1/file", files={"file": ("a.txt", b"later")})
    with pytest.raises(BackupError, match="--force"):
        restore(data_dir, file)
    later = tree_of(data_dir)
    assert len(messages_in(data_dir)) == 4

    restored = restore(data_dir, file, force=True)
    assert len(messages_in(data_dir)) == 2
    assert not any(path.is_file() for path in (data_dir / "attachments").rglob("*"))
    assert restored.before is not None
    assert len(messages_in(restored.before)) == 4
    replaced = tree_of(restored.before)
    assert {name for name in later if name.startswith("attachments/")} <= replaced.keys()


async def test_a_restore_that_was_cut_off_is_finished(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its renames."""
    back_up(filled, tmp_path / "backup.tar")
    rename = Path.rename
    for cut in range(12):
        folder = tmp_path / f"data{cut}"
        folder.mkdir()
        restore(folder, tmp_path / "backup.tar")
        (folder / "palaver.toml").write_text("port = 1\n")
        remaining = [cut + 1]  # the journal's own is the first

        def cut_off(path: Path, target: Path, remaining: list[int] = remaining) -> Path:
            remaining[0] -= 1
            if remaining[0] < 0:
                raise OSError(errno.EIO, "the power is gone")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", cut_off)
        failed = False
        try:
            restore(folder, tmp_path / "backup.tar", force=True)
        except BackupError:
            failed = True
        monkeypatch.setattr(Path, "rename", rename)
        before = finish_restore(folder)
        assert (before is not None) == failed
        assert problems(sqlite_url(folder / "palaver.db")) == []
        assert (folder / "palaver.toml").read_text() == 'openai_model = "m"\n'
        (replaced,) = folder.glob("before-restore-*")
        assert (replaced / "palaver.toml").read_text() == "port = 1\n"
        assert len(messages_in(replaced)) == 2
        assert not list(folder.glob("restoring-*"))
