"""`GET /api/v1/files`: the attachments that a key sees."""

from typing import Any

import pytest

from tests.files.conftest import Served
from tests.files.test_upload import PNG

pytestmark = pytest.mark.databases("sqlite", "postgresql")


async def listed(served: Served, headers: dict[str, str] | None = None, **query: Any) -> Any:
    answer = await served.client.get("/api/v1/files", params=query, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def names(page: Any) -> list[str]:
    return [file["filename"] for file in page["files"]]


async def test_files_are_listed_page_by_page_the_newest_first(served: Served) -> None:
    for number in range(5):
        await served.upload(b"x" * number, f"{number}.txt")
    first = await listed(served, limit=2)
    second = await listed(served, limit=2, cursor=first["next_cursor"])
    third = await listed(served, limit=2, cursor=second["next_cursor"])
    assert [names(first), names(second), names(third)] == [["4.txt", "3.txt"], ["2.txt", "1.txt"], ["0.txt"]]
    assert third["next_cursor"] is None
    newest = first["files"][0]
    one = (await served.client.get(f"/api/v1/files/{newest['attachment_id']}")).json()["data"]
    assert newest == {**one, "username": None}
    await served.client.delete(f"/api/v1/files/{newest['attachment_id']}")
    assert names(await listed(served)) == ["3.txt", "2.txt", "1.txt", "0.txt"]


async def test_a_key_with_a_user_sees_that_users_files(served: Served) -> None:
    alice, bob = await served.new_key(username="alice"), await served.new_key(username="bob")
    await served.upload(b"a", "alice.txt", headers=alice)
    await served.upload(b"b", "bob.txt", headers=bob)
    await served.upload(b"c", "nobody.txt")
    assert names(await listed(served, alice)) == ["alice.txt"]
    assert names(await listed(served, bob, username="bob")) == ["bob.txt"]
    assert names(await listed(served)) == ["nobody.txt", "bob.txt", "alice.txt"]
    (file,) = (await listed(served, username="alice"))["files"]
    assert (file["filename"], file["username"]) == ("alice.txt", "alice")
    answer = await served.client.get("/api/v1/files", params={"username": "bob"}, headers=alice)
    assert (answer.status_code, answer.json()["code"]) == (403, "username_not_allowed")


async def test_files_are_found_by_name_and_kind(served: Served) -> None:
    await served.upload(PNG, "Cat.png", "image/png")
    await served.upload(b"100%", "100%.txt")
    await served.upload(b"1000", "1000.txt")
    assert names(await listed(served, search="cat")) == ["Cat.png"]
    assert names(await listed(served, search="0%")) == ["100%.txt"]
    assert names(await listed(served, type="image")) == ["Cat.png"]
    assert names(await listed(served, type="file", search=".txt")) == ["1000.txt", "100%.txt"]


async def test_what_is_refused(served: Served) -> None:
    chat = await served.new_key(scopes=("chat", "admin"))
    for headers, query, refused in (
        (chat, {}, (403, "insufficient_scope")),
        ({}, {"type": "picture"}, (400, "invalid_type")),
        ({}, {"cursor": "WzEsMl0"}, (400, "invalid_cursor")),
        ({}, {"limit": "few"}, (400, "invalid_limit")),
        ({}, {"search": "a\0b"}, (400, "invalid_search")),
        ({}, {"username": "x" * 256}, (400, "invalid_username")),
    ):
        answer = await served.client.get("/api/v1/files", params=query, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == refused, query
