"""`GET` and `HEAD` of an attachment: headers, conditions, ranges, and who may see it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from werkzeug.http import http_date, parse_options_header

from app.files.storage import open_storage
from tests.files.conftest import Served

CONTENT = b"0123456789" * 10


@pytest.fixture
async def attachment(served: Served) -> Any:
    return await served.upload(CONTENT, "digits.txt")


def _lasting(answer: httpx2.Response) -> dict[str, str]:
    """The headers that are the same each time."""
    return {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}


async def test_missing_id_is_400(served: Served) -> None:
    for path in ("/api/v1/file", "/api/v1/file?attachment_id=", "/api/v1/file?attachment_id=%20"):
        answer = await served.client.get(path)
        assert (answer.status_code, answer.json()["message"]) == (400, "Missing key: attachment_id")


@pytest.mark.parametrize("attachment_id", ["nope", "%00", "../../etc/passwd", "x" * 5000, "%ff"])
async def test_unknown_attachment_is_404(served: Served, attachment_id: str) -> None:
    answer = await served.client.get(f"/api/v1/file?attachment_id={attachment_id}")
    assert (answer.status_code, answer.json()["message"]) == (404, "Attachment not found")
    assert answer.json()["code"] == "attachment_not_found"


async def test_unknown_attachment_is_404_by_path_too(served: Served) -> None:
    for method, path in (("GET", "x"), ("DELETE", "x"), ("GET", "x/content")):
        answer = await served.client.request(method, f"/api/v1/files/{path}")
        assert (answer.status_code, answer.json()["message"]) == (404, "Attachment not found")
    assert (await served.client.head("/api/v1/files/x/content")).status_code == 404


async def test_both_paths_give_the_same_content(served: Served, attachment: Any) -> None:
    by_query = await served.content(attachment["attachment_id"])
    by_path = await served.client.get(f"/api/v1/files/{attachment['attachment_id']}/content")
    assert by_query.content == by_path.content == CONTENT
    assert _lasting(by_query) == _lasting(by_path)


async def test_content_has_the_headers_that_keep_browsers_from_guessing(served: Served, attachment: Any) -> None:
    headers = (await served.content(attachment["attachment_id"])).headers
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == str(len(CONTENT))
    assert headers["Content-Disposition"] == 'inline; filename="digits.txt"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Cache-Control"].startswith("private, max-age=")
    assert headers["Accept-Ranges"] == "bytes"


async def test_head_has_the_headers_of_get_and_no_body(served: Served, attachment: Any) -> None:
    for path in (
        f"/api/v1/file?attachment_id={attachment['attachment_id']}",
        f"/api/v1/files/{attachment['attachment_id']}/content",
    ):
        get, head = await served.client.get(path), await served.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert _lasting(head) == _lasting(get)


async def test_metadata_tells_all_but_where_it_is_defect_25(served: Served, attachment: Any) -> None:
    answer = await served.client.get(f"/api/v1/files/{attachment['attachment_id']}")
    data = answer.json()["data"]
    assert {name: data[name] for name in attachment} == attachment
    assert set(data) == {*attachment, "sha256", "created_at"}
    (row,) = await served.rows()
    answers = [
        answer,
        await served.content(attachment["attachment_id"]),
        await served.client.delete(f"/api/v1/files/{attachment['attachment_id']}"),
        await served.content(attachment["attachment_id"]),
    ]
    for answer in answers:
        text = answer.text + str(answer.headers)
        assert row.storage_key not in text
        assert str(served.folder) not in text


async def test_lost_bytes_are_503_before_the_answer_begins_and_show_no_path_defect_25(
    served: Served, attachment: Any
) -> None:
    (row,) = await served.rows()
    (served.folder / row.storage_key).unlink()
    answer = await served.content(attachment["attachment_id"])
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert row.storage_key not in answer.text
    assert "/" not in answer.json()["message"]


async def test_delete_removes_row_and_bytes(served: Served, attachment: Any) -> None:
    path = f"/api/v1/files/{attachment['attachment_id']}"
    answer = await served.client.delete(path)
    assert (answer.status_code, answer.json()["data"]) == (200, {"attachment_id": attachment["attachment_id"]})
    assert await served.rows() == []
    assert served.stored() == []
    assert (await served.client.delete(path)).status_code == 404


async def test_bytes_that_cannot_be_deleted_are_gone_for_callers_all_the_same(served: Served, attachment: Any) -> None:
    (row,) = await served.rows()
    (served.folder / row.storage_key).unlink()
    (served.folder / row.storage_key).mkdir()
    assert (await served.client.delete(f"/api/v1/files/{attachment['attachment_id']}")).status_code == 503
    assert (await served.content(attachment["attachment_id"])).status_code == 404


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("plain.txt", "plain.txt"),
        ("na\u00efve caf\u00e9.txt", "naive cafe.txt"),
        ("\u4f60\u597d.txt", "file.txt"),
        ('qu"ote\\d.txt', None),
        ("100%.txt", "100_.txt"),
        ("\U0001f468\u200d\U0001f469.png", "file.png"),
    ],
)
async def test_original_file_name_comes_back_by_rfc_6266(served: Served, name: str, plain: str | None) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    part = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\nx\r\n--b--\r\n'
    answer = await served.client.post(
        "/api/v1/file", content=part.encode(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    data = answer.json()["data"]
    header = (await served.content(data["attachment_id"])).headers["Content-Disposition"]
    assert header.isascii()
    _, options = parse_options_header(header)
    assert options["filename"] == data["filename"]
    if plain is not None:
        assert data["filename"] == name
        assert f'filename="{plain}"' in header


async def test_line_breaks_in_a_name_split_no_header(served: Served) -> None:
    principal = await served.keys.verify(served.key)

    async def chunks() -> Any:
        yield b"x"

    saved = await served.files.save("a\r\nSet-Cookie: x=1\r\n\r\n.txt", chunks(), principal)
    answer = await served.content(saved.id)
    assert "Set-Cookie" not in answer.headers
    assert "\r" not in unquote(answer.headers["Content-Disposition"])


async def test_long_names_keep_their_extension(served: Served) -> None:
    data = await served.upload(b"x", "\u4f60" * 300 + ".txt")
    assert len(data["filename"]) == 255
    assert data["filename"].endswith(".txt")


@pytest.mark.parametrize(
    ("header", "status", "content", "content_range"),
    [
        ("bytes=0-9", 206, CONTENT[:10], "bytes 0-9/100"),
        ("bytes=95-", 206, CONTENT[95:], "bytes 95-99/100"),
        ("bytes=-5", 206, CONTENT[-5:], "bytes 95-99/100"),
        ("bytes=-500", 206, CONTENT, "bytes 0-99/100"),
        ("bytes=90-1000", 206, CONTENT[90:], "bytes 90-99/100"),
        ("bytes=99-99", 206, CONTENT[99:], "bytes 99-99/100"),
        ("bytes=100-", 416, None, "bytes */100"),
        ("bytes=200-300", 416, None, "bytes */100"),
        ("bytes=-0", 416, None, "bytes */100"),
        ("bytes=0-1,5-6", 200, CONTENT, None),
        ("bytes=5-2", 200, CONTENT, None),
        ("bytes=x-y", 200, CONTENT, None),
        ("lines=0-9", 200, CONTENT, None),
    ],
)
async def test_range(
    served: Served, attachment: Any, header: str, status: int, content: bytes | None, content_range: str | None
) -> None:
    answer = await served.content(attachment["attachment_id"], Range=header)
    assert answer.status_code == status
    assert answer.headers.get("Content-Range") == content_range
    if content is None:
        assert answer.json()["code"] == "range_not_satisfiable"
    else:
        assert answer.content == content
        assert answer.headers["Content-Length"] == str(len(content))


async def test_range_of_an_empty_file_is_416(served: Served) -> None:
    data = await served.upload(b"")
    assert (await served.content(data["attachment_id"], Range="bytes=0-")).status_code == 416


async def test_range_over_several_blocks(served: Served) -> None:
    content = b"".join(index.to_bytes(4, "big") for index in range(750_000))
    data = await served.upload(content)
    answer = await served.content(data["attachment_id"], Range="bytes=1048570-2500000")
    assert answer.content == content[1048570:2500001]
    assert (await served.content(data["attachment_id"])).content == content


async def test_head_takes_no_notice_of_range(served: Served, attachment: Any) -> None:
    answer = await served.client.head(
        f"/api/v1/files/{attachment['attachment_id']}/content", headers={"Range": "bytes=0-9"}
    )
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "100")


async def test_etag_is_strong_and_of_the_content(served: Served, attachment: Any) -> None:
    same, other = await served.upload(CONTENT, "copy.txt"), await served.upload(b"else")
    etags = [(await served.content(upload["attachment_id"])).headers["ETag"] for upload in (attachment, same, other)]
    assert etags[0].startswith('"')
    assert etags[0] == etags[1] != etags[2]


async def test_conditions(served: Served, attachment: Any) -> None:
    attachment_id = attachment["attachment_id"]
    answer = await served.content(attachment_id)
    etag, modified = answer.headers["ETag"], answer.headers["Last-Modified"]
    earlier = http_date(datetime.now(UTC) - timedelta(days=1))
    later = http_date(datetime.now(UTC) + timedelta(days=1))
    for headers, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f"W/{etag}"}, 304),
        ({"If-None-Match": f'"x", {etag}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": later}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": later}, 304),
        ({"If-Modified-Since": earlier}, 200),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"If-Match": etag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Unmodified-Since": modified}, 200),
        ({"If-Unmodified-Since": earlier}, 412),
        ({"Range": "bytes=0-1", "If-Range": etag}, 206),
        ({"Range": "bytes=0-1", "If-Range": modified}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": f"W/{etag}"}, 200),
        ({"Range": "bytes=0-1", "If-Range": later}, 200),
        ({"Range": "bytes=0-1", "If-None-Match": etag}, 304),
    ):
        answer = await served.content(attachment_id, **headers)
        assert answer.status_code == status, headers
        if status == 304:
            assert (answer.content, answer.headers["ETag"]) == (b"", etag)
            assert "Cache-Control" in answer.headers


async def test_slow_download_is_not_cut_off_by_the_response_timeout(served: Served) -> None:
    content = bytes(MAX := 7 * 1024**2)
    data = await served.upload(content)
    served.app.config["RESPONSE_TIMEOUT"] = 0.05
    async with served.client.reading(f"/api/v1/files/{data['attachment_id']}/content") as answer:
        got = 0
        async for block in answer.aiter_raw():
            if got == 0:
                await asyncio.sleep(0.2)  # the time is what is being tested
            got += len(block)
    assert got == MAX


async def test_key_bound_to_a_user_reaches_only_that_users_files_defect_11(served: Served) -> None:
    alice, bob = await served.new_key(username="alice"), await served.new_key(username="bob")
    of_alice = (await served.upload(b"hers", headers=alice))["attachment_id"]
    of_nobody = (await served.upload(b"the operator's"))["attachment_id"]
    for attachment_id, headers, status in (
        (of_alice, alice, 200),
        (of_alice, bob, 404),
        (of_alice, {}, 200),
        (of_nobody, alice, 404),
    ):
        for path in (
            f"/api/v1/file?attachment_id={attachment_id}",
            f"/api/v1/files/{attachment_id}",
            f"/api/v1/files/{attachment_id}/content",
        ):
            assert (await served.client.get(path, headers=headers)).status_code == status, path
    refused = await served.client.delete(f"/api/v1/files/{of_alice}", headers=bob)
    assert (refused.status_code, refused.json()["message"]) == (404, "Attachment not found")
    assert (await served.client.delete(f"/api/v1/files/{of_alice}", headers=alice)).status_code == 200


async def test_key_bound_to_a_user_finds_only_that_users_files_for_messages_defect_11(served: Served) -> None:
    alice = await served.new_key(username="alice")
    hers = (await served.upload(b"hers", headers=alice))["attachment_id"]
    hidden = (await served.upload(b"other"))["attachment_id"]
    principal = await served.keys.verify(alice["X-API-Key"])
    assert set(await served.files.find_many([hers, hidden, "unknown"], principal)) == {hers}
    assert set(await served.files.find_many([hers, hidden, "unknown"], None)) == {hers, hidden}
    assert await served.files.find_many([], None) == {}


async def test_read_gives_at_most_the_limit(served: Served, attachment: Any, tmp_path: Path) -> None:
    stored = await served.files.get(attachment["attachment_id"], None)
    assert await served.files.read(stored, 1000) == CONTENT
    assert await served.files.read(stored, 10) == CONTENT[:10]
    assert await served.files.read(stored, 0) == b""


async def test_storage_check_fails_when_the_folder_is_gone(served: Served) -> None:
    storage = open_storage(served.folder)
    await storage.check()
    served.folder.rmdir()
    with pytest.raises(Exception, match="storage is not available"):
        await storage.check()
