"""`POST /api/v1/file`: what is taken, how it is named and kept, and what is refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import Unavailable
from app.files.forms import MAX_PARTS
from tests.files.conftest import MAX_UPLOAD_BYTES, RawUpload, Served, eventually

T = TypeVar("T")


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
FORM = "multipart/form-data; boundary=b"


async def test_upload_answers_with_id_filename_and_type(served: Served) -> None:
    answer = await served.client.post("/api/v1/file", files={"file": ("cat.png", PNG, "image/png")})
    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "ok"
    assert body["message"] is None
    assert len(body["data"].pop("attachment_id")) == 36
    assert body["data"] == {"filename": "cat.png", "type": "image", "media_type": "image/png", "size": len(PNG)}


async def test_bytes_come_back_as_they_were_sent(served: Served) -> None:
    content = bytes(range(256)) * 20_000 + b"\r\n--boundary\r\n\r\n--"
    data = await served.upload(content, "x.bin")
    answer = await served.content(data["attachment_id"])
    assert answer.content == content
    (row,) = await served.rows()
    assert (row.size, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert row.filename == "x.bin"


async def test_missing_field_is_400(served: Served) -> None:
    for kwargs in (
        {"files": {"other": ("a.txt", b"x")}},
        {"data": {"file": "x"}},
        {"content": b""},
    ):
        answer = await served.client.post("/api/v1/file", **kwargs)
        assert (answer.status_code, answer.json()["message"]) == (400, "Missing key: file")
        assert answer.json()["code"] == "missing_key"
    assert served.stored() == []


async def test_a_part_without_a_filename_is_taken_under_the_fields_name(served: Served) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--b--\r\n'
    answer = await served.client.post("/api/v1/file", content=body, headers={"Content-Type": FORM})
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["filename"] == "file"


async def test_empty_form_is_400(served: Served) -> None:
    headers = {"Content-Type": FORM}
    for content in (b"", b"--b--\r\n"):
        answer = await served.client.post("/api/v1/file", content=content, headers=headers)
        assert (answer.status_code, answer.json()["message"]) == (400, "Missing key: file")


async def test_body_that_is_no_form_is_415(served: Served) -> None:
    answer = await served.client.post("/api/v1/file", json={"file": "x"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.databases("sqlite")  # refused before the database is asked
@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=" + "b" * 201, b"--b\r\n"),
        (FORM, b"no boundary at all"),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\ncut'),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="file"; fil'),
        (FORM, b'--b\r\nX-Long: ' + b"x" * 5000),
        (FORM, b"--b\r\n" + b"X-Many: x\r\n" * 20),
        (FORM, b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * (MAX_PARTS + 1)),
    ],
    ids=["no boundary", "long boundary", "not multipart", "cut in the file", "cut in a header", "long header",
         "many headers", "many parts"],
)  # fmt: skip
async def test_malformed_form_is_400_and_leaves_nothing(served: Served, content_type: str, content: bytes) -> None:
    answer = await served.client.post("/api/v1/file", content=content, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_form")
    assert await served.rows() == []
    assert served.stored() == []


async def test_only_the_first_file_of_a_form_is_taken(served: Served) -> None:
    files = [("note", ("n.txt", b"note")), ("file", ("1.txt", b"one")), ("file", ("2.txt", b"two"))]
    data = (await served.client.post("/api/v1/file", files=files, data={"x": "y"})).json()["data"]
    assert data["filename"] == "1.txt"
    assert (await served.content(data["attachment_id"])).content == b"one"
    assert len(await served.rows()) == 1


async def test_form_that_arrives_byte_by_byte_is_read_the_same(served: Served) -> None:
    async def body() -> object:
        for byte in (
            b"preamble"[:0] + b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            b"one\r\n--bb\r\n--\r\ntwo\r\n--b--\r\n"
        ):
            yield bytes([byte])

    headers = {"Content-Type": FORM}
    answer = await served.client.post("/api/v1/file", content=body(), headers=headers)
    assert answer.status_code == 200
    assert (await served.content(answer.json()["data"]["attachment_id"])).content == b"one\r\n--bb\r\n--\r\ntwo"


async def test_empty_file_is_kept(served: Served) -> None:
    data = await served.upload(b"", "empty.txt")
    assert (data["type"], data["media_type"], data["size"]) == ("file", "application/x-empty", 0)
    answer = await served.content(data["attachment_id"])
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")


async def test_two_uploads_of_one_name_are_two_files_defect_8(served: Served) -> None:
    first, second = await served.upload(b"first", "same.txt"), await served.upload(b"second", "same.txt")
    assert first["attachment_id"] != second["attachment_id"]
    assert first["filename"] == second["filename"] == "same.txt"
    assert (await served.content(first["attachment_id"])).content == b"first"
    assert (await served.content(second["attachment_id"])).content == b"second"


@pytest.mark.databases("sqlite")  # the storage is what is tested
@pytest.mark.parametrize(
    ("filename", "stored_name"),
    [
        ("../../escape.txt", "escape.txt"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\x\\evil.exe", "evil.exe"),
        ("..", "file"),
        ("a/..", "file"),
        ("", "file"),
        ("con\x07trol\x7f.txt", "control.txt"),
        ("exe.\u202etxt", "exe.txt"),
    ],
)
async def test_client_names_never_become_paths_defect_8(
    served: Served, tmp_path: Path, filename: str, stored_name: str
) -> None:
    await served.client.get("/api/v1/files/x")  # what the start makes is there from here on
    before = set(tmp_path.rglob("*"))
    part = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\nx\r\n--b--\r\n'
    answer = await served.client.post("/api/v1/file", content=part.encode(), headers={"Content-Type": FORM})
    assert answer.json()["data"]["filename"] == stored_name
    (row,) = await served.rows()
    new_files = {path for path in set(tmp_path.rglob("*")) - before if path.is_file() and "palaver.db" not in path.name}
    assert new_files == {served.folder / row.storage_key}
    assert stored_name not in row.storage_key


async def test_extended_and_latin_1_names_are_read(served: Served) -> None:
    for disposition, filename in (
        (b"filename*=UTF-8''na%C3%AFve%20%E4%BD%A0.txt; filename=\"naive.txt\"", "na\u00efve \u4f60.txt"),
        ('filename="na\u00efve.txt"'.encode("latin-1"), "na\u00efve.txt"),
    ):
        part = b'--b\r\nContent-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\nx\r\n--b--\r\n"
        answer = await served.client.post("/api/v1/file", content=part, headers={"Content-Type": FORM})
        assert answer.json()["data"]["filename"] == filename


async def test_file_of_the_limit_is_taken_and_one_byte_more_is_413(served: Served) -> None:
    await served.upload(bytes(MAX_UPLOAD_BYTES))
    stored = served.stored()
    answer = await served.client.post("/api/v1/file", files={"file": ("a", bytes(MAX_UPLOAD_BYTES + 1))})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert served.stored() == stored
    assert len(await served.rows()) == 1


async def test_413_at_once_when_the_content_length_says_so(served: Served) -> None:
    async with RawUpload(served, length=MAX_UPLOAD_BYTES * 10) as upload:
        status, body = await upload.answer()
    assert status == 413
    assert b"The file is larger than" in body


async def test_413_while_the_file_is_still_arriving(served: Served) -> None:
    async with RawUpload(served, length=None) as upload:
        for _ in range(MAX_UPLOAD_BYTES // 65536 + 1):
            await upload.send(bytes(65536))
        # The client has neither ended its body nor means to: the answer is there all the same.
        status, body = await asyncio.wait_for(upload.answer(), 5)
        # And it can go on for a while without losing it to a reset.
        for _ in range(4):
            await upload.send(bytes(65536))
        upload.writer.write(b"0\r\n\r\n")
    assert status == 413
    assert b"payload_too_large" in body
    assert await served.rows() == []
    await eventually(lambda: served.stored() == [])


async def test_answer_reaches_a_client_that_reads_only_after_sending_everything(served: Served) -> None:
    answer = await served.client.post("/api/v1/file", files={"file": ("a", bytes(MAX_UPLOAD_BYTES * 4))})
    assert answer.status_code == 413
    wrong_key = await served.client.post(
        "/api/v1/file", files={"file": ("a", bytes(MAX_UPLOAD_BYTES))}, headers={"X-API-Key": "nonsense"}
    )
    assert wrong_key.status_code == 401


async def test_fields_around_the_file_are_limited_too(served: Served) -> None:
    answer = await served.client.post(
        "/api/v1/file", files=[("x", ("a", bytes(MAX_UPLOAD_BYTES + 100_000))), ("file", ("b", b"x"))]
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("sent_bytes", [1000, 7 * 1024**2], ids=["before the first part", "after the first part"])
async def test_connection_dropped_mid_upload_leaves_nothing(served: Served, sent_bytes: int) -> None:
    async with RawUpload(served, length=MAX_UPLOAD_BYTES) as upload:
        for _ in range(max(sent_bytes // 65536, 1)):
            await upload.send(bytes(65536))
        if sent_bytes > 5 * 1024**2:
            await eventually(lambda: any("#" in path.name for path in served.stored()))
        upload.abort()
    await eventually(lambda: served.stored() == [])
    assert await served.rows() == []
    await served.upload(b"the server still works")


async def test_stalled_upload_is_408(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.files.multipart.IDLE_SECONDS", 0.05)
    async with RawUpload(served, length=1000) as upload:
        status, body = await upload.answer()
    assert status == 408
    assert b"request_timeout" in body
    assert served.stored() == []


async def test_an_upload_that_trickles_is_408(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.files.multipart.SLOW_SECONDS", 0.2)
    monkeypatch.setattr("app.files.multipart.MIN_BYTES_PER_SECOND", 100_000)
    async with RawUpload(served, length=None) as upload:
        answer = asyncio.create_task(upload.answer())
        while not answer.done():
            await upload.send(b"x")
            await asyncio.sleep(0.02)  # the time is what is being tested
        status, body = await answer
    assert status == 408
    assert b"too slowly" in body
    assert served.stored() == []


async def test_slow_upload_is_not_cut_off_by_the_body_timeout(served: Served) -> None:
    served.app.config["BODY_TIMEOUT"] = 0.05
    async with RawUpload(served, length=None) as upload:
        for _ in range(10):
            await upload.send(b"x")
            await asyncio.sleep(0.02)  # the time is what is being tested
        await upload.send(b"\r\n--%s--\r\n" % upload.BOUNDARY.encode())
        upload.writer.write(b"0\r\n\r\n")
        status, _ = await upload.answer()
    assert status == 200


@pytest.mark.xdist_group("timing")
async def test_slow_storage_holds_back_the_sender(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.files.max_upload_bytes = 10**9
    may_go_on = asyncio.Event()
    size = 0

    class SlowSink:
        async def write(self, data: memoryview) -> None:
            nonlocal size
            size += len(data)
            await may_go_on.wait()

        async def finish(self) -> None:
            raise Unavailable("enough")

        def abandon(self) -> None:
            pass

    monkeypatch.setattr("app.files.storage.FolderSink", lambda *_: SlowSink())
    sent = 0
    async with RawUpload(served, length=None) as upload:
        with pytest.raises(TimeoutError):
            while sent < 256 * 1024**2:
                async with asyncio.timeout(0.5):
                    await upload.send(bytes(1024**2))
                sent += 1024**2
        assert size <= 1024**2
        # What was sent and not taken stands in the sockets' buffers, which the system bounds.
        assert sent < 64 * 1024**2
        may_go_on.set()
        upload.abort()


async def test_storage_fault_is_503_without_details_and_leaves_nothing(served: Served) -> None:
    served.folder.rmdir()
    served.folder.write_text("in the way")
    answer = await served.client.post("/api/v1/file", files={"file": ("a.txt", b"x")})
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert str(served.folder) not in answer.text
    assert "attachments" not in answer.text
    assert await served.rows() == []


async def test_failed_insert_removes_the_object(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        assert [path for path in served.stored() if path.is_file()], "the object is complete before the row is written"
        raise DatabaseUnavailable

    monkeypatch.setattr(served.files, "_insert", fails)
    answer = await served.client.post("/api/v1/file", files={"file": ("a.txt", b"x")})
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert served.stored() == []


class StuckAfterCommit:
    """A database whose first write is committed and then does not return."""

    def __init__(self, database: Database) -> None:
        self.url = database.url
        self.committed = asyncio.Event()
        self.read, self.close = database.read, database.close
        self._database = database

    async def write(self, act: Callable[[Connection], T]) -> T:
        result = await self._database.write(act)
        if not self.committed.is_set():
            self.committed.set()
            await asyncio.Event().wait()
        return result


async def test_request_cancelled_after_the_commit_leaves_neither_row_nor_object(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    database = StuckAfterCommit(served.database)
    monkeypatch.setattr(served.files, "_database", database)
    task = asyncio.create_task(served.files.save("a.txt", chunks(), await served.keys.verify(served.key)))
    async with asyncio.timeout(5):
        await database.committed.wait()
    assert len(await served.rows()) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await served.rows() == []
    assert served.stored() == []
    await database.close()


async def test_upload_needs_the_scope_file(served: Served) -> None:
    for path, method in (
        ("/api/v1/file", "POST"),
        ("/api/v1/file?attachment_id=x", "GET"),
        ("/api/v1/file?attachment_id=x", "HEAD"),
        ("/api/v1/files/x", "GET"),
        ("/api/v1/files/x", "DELETE"),
        ("/api/v1/files/x/content", "GET"),
        ("/api/v1/files/x/content", "HEAD"),
    ):
        answer = await served.client.request(method, path, headers=await served.new_key(scopes=["chat"]))
        assert answer.status_code == 403, (method, path)
