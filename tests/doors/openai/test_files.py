"""Images and documents, in JSON and in forms: they are read, or refused by their names."""

import asyncio
import base64
import json
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.conftest import StartServer
from tests.doors.openai.conftest import shown
from tests.support import answers
from tests.support.answers import numbered, reply
from tests.support.client import Client
from tests.support.database import count_rows
from tests.support.model_server import ModelServer
from tests.support.server import Server

PATH = "/v1/chat/completions"


def picture(kind: str = "PNG", side: int = 2) -> bytes:
    out = BytesIO()
    Image.new("RGB", (side, side), "red").save(out, kind)
    return out.getvalue()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def sheet(rows: int) -> bytes:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("Numbers")
    for row in range(rows):
        page.append([f"cell {row}", row])
    out = BytesIO()
    book.save(out)
    return out.getvalue()


async def ask(client: Client, *parts: Any, **body: Any) -> httpx2.Response:
    return await client.post(PATH, {"messages": [{"role": "user", "content": list(parts)}], **body})


def image(url: str, **others: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **others}}


TEXT = {"type": "text", "text": "What is it?"}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_an_image_reaches_the_model_and_stays_in_the_session(
    client: Client, model: ModelServer, kind: str
) -> None:
    url = data_url(picture(kind), f"image/{kind.lower()}")
    assert (await ask(client, TEXT, image(url, detail="low"), session_id="s")).status_code == 200
    assert shown(model)[-1] == ("user", [TEXT, image(url, detail="low")])
    await client.post(PATH, {"messages": [{"role": "user", "content": "And now?"}], "session_id": "s"})
    assert shown(model)[1] == ("user", [TEXT, image(url)])


async def test_the_media_type_is_that_of_the_content(client: Client, model: ModelServer) -> None:
    await ask(client, image(data_url(picture("JPEG"), "image/png"), detail="low"), store=False)
    assert shown(model)[-1][1][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("data:image/png;base64,iVBOR...", 400),
        ("data:image/png;base64,", 400),
        ("data:image/png,abc", 400),
        (data_url(b"MZ this is no image"), 400),
        (data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), 400),
        (data_url(picture()[:30]), 400),
        ("file:///etc/passwd", 400),
        (data_url(b"\x89PNG\r\n\x1a\n" + b"x" * 10 * 1024**2), 413),
    ],
)
async def test_an_image_that_is_none_is_refused_and_nothing_left_defect_17(
    server: Server, client: Client, model: ModelServer, url: str, status: int
) -> None:
    response = await ask(client, image(data_url(picture())), image(url), session_id="s")
    assert response.status_code == status, response.text
    assert "content[1]" in response.text
    assert model.requests == []
    assert await count_rows(server.core.database, "sessions", "runs", "attachments") == [0, 0, 0]


HEIC = (Path(__file__).parents[2] / "data/images/photo.heic").read_bytes()


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (HEIC, "image/jpeg"),
        (picture("AVIF"), "image/jpeg"),
        (picture("BMP"), "image/png"),
        (picture("TIFF"), "image/png"),
    ],
)
async def test_other_kinds_of_images_are_converted(
    client: Client, model: ModelServer, data: bytes, media_type: str
) -> None:
    assert (await ask(client, image(data_url(data, "image/heic"), detail="low"), session_id="s")).status_code == 200
    (shown_image,) = shown(model)[-1][1]
    assert shown_image["image_url"]["url"].startswith(f"data:{media_type};base64,")
    assert shown_image["image_url"]["detail"] == "low"
    assert (await post_form(client, {"message": "Look"}, ("a.heic", data))).status_code == 200
    assert shown(model)[-1][1][1]["image_url"]["url"].startswith(f"data:{media_type};base64,")
    assert (await ask(client, TEXT, session_id="s")).status_code == 200
    assert shown(model)[1] == ("user", [{"type": "image_url", "image_url": {"url": shown_image["image_url"]["url"]}}])


async def test_a_request_has_so_many_images_and_so_much_text_of_documents(
    start_server: StartServer, model: ModelServer
) -> None:
    async with (
        start_server(max_prompt_document_chars=1_000) as server,
        Client(server, await server.new_key()) as client,
    ):
        response = await ask(client, *[image(data_url(picture()))] * 101, store=False)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "too_many_images")
        response = await ask(client, *[file_part("a.txt", b"x" * 501)] * 2, store=False)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "documents_too_long")
        assert model.requests == []


async def test_a_remote_image_is_handed_on_and_never_fetched_defect_26(client: Client, model: ModelServer) -> None:
    async with ModelServer() as inside:
        url = f"{inside.base_url}/cat.png"
        await ask(client, TEXT, image(url))
        assert inside.connections == 0
    assert shown(model)[-1][1] == [TEXT, image(url)]


def file_part(name: str, data: bytes, media_type: str = "") -> dict[str, Any]:
    return {"type": "file", "file": {"filename": name, "file_data": data_url(data, media_type)}}


async def test_a_document_in_json_becomes_text(client: Client, model: ModelServer) -> None:
    response = await ask(client, TEXT, file_part("notes.xlsx", sheet(3)), session_id="s")
    assert response.status_code == 200, response.text
    (_, (_, text)) = shown(model)[-1]
    assert text["text"].startswith("[file: notes.xlsx]")
    assert "cell 2" in text["text"]
    await client.post(PATH, {"messages": [{"role": "user", "content": "And now?"}], "session_id": "s"})
    assert "cell 2" in shown(model)[1][1]


async def post_form(client: Client, data: dict[str, str], *files: tuple[str, bytes]) -> httpx2.Response:
    parts = [("files", (name, content)) for name, content in files]
    return await client.request("POST", PATH, data=data, files=parts or {"none": (None, "")})


async def test_a_form_with_files(client: Client, model: ModelServer) -> None:
    fields = {
        "message": "Compare these",
        "session_id": "my-session",
        "system": "Be brief",
        "temperature": "0.5",
        "response_format": "json_object",
        "messages": json.dumps([{"role": "user", "content": "before"}]),
    }
    response = await post_form(client, fields, ("chart.png", picture()), ("data.xlsx", sheet(2)), ("a.md", b"# Title"))
    assert response.status_code == 200, response.text
    request = model.requests[-1].body
    assert (request["temperature"], request["response_format"]) == (0.5, {"type": "json_object"})
    system, before, (_, parts) = shown(model)
    assert (system, before) == (("system", "Be brief"), ("user", "before"))
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "text"]
    assert "cell 1" in parts[2]["text"]
    assert parts[3]["text"].startswith("[file: a.md]\n# Title")


async def test_a_form_without_files_and_streamed(client: Client, model: ModelServer) -> None:
    response = await post_form(client, {"message": "hi", "stream": "true"})
    assert response.text.endswith("data: [DONE]\n\n")
    assert shown(model)[-1] == ("user", "hi")


async def post_unnamed_files(client: Client, *contents: bytes) -> httpx2.Response:
    parts = [b'Content-Disposition: form-data; name="message"\r\n\r\nRead']
    parts += [b'Content-Disposition: form-data; name="files"\r\n\r\n' + content for content in contents]
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return await client.http.post(PATH, content=body, headers=headers)


async def test_files_without_a_name_are_files(client: Client, model: ModelServer) -> None:
    response = await post_unnamed_files(client, picture(), b"# Title", b"")
    assert response.status_code == 200, response.text
    (_, (text, image, document)) = shown(model)[-1]
    assert (text["text"], image["type"]) == ("Read", "image_url")
    assert document["text"].startswith("[file: file]\n# Title")


async def test_a_file_without_a_name_is_bounded(client: Client, model: ModelServer) -> None:
    response = await post_unnamed_files(client, bytes(10 * 1024**2 + 1))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "file_too_large")
    assert model.requests == []


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("broken.pdf", b"%PDF-1.7 broken", 422),
        ("empty.txt", b"", 422),
        ("tool.exe", b"MZ\x90\x00" + bytes(200), 422),
        ("large.bin", bytes(10 * 1024**2 + 1), 413),
        ("broken.png", picture()[:40], 422),
    ],
)
async def test_what_cannot_be_read_is_refused_by_its_name_defect_17(
    server: Server, client: Client, model: ModelServer, name: str, content: bytes, status: int
) -> None:
    response = await post_form(client, {"message": "Read"}, ("fine.txt", b"fine"), (name, content))
    assert response.status_code == status, response.text
    assert name in response.json()["error"]["message"]
    assert model.requests == []
    assert await count_rows(server.core.database, "attachments") == [0]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "message"),
        ({"message": "hi", "temperature": "warm"}, "temperature"),
        ({"message": "hi", "stream": "perhaps"}, "stream"),
        ({"messages": "{}"}, "messages"),
        ({"message": "hi", "thread_id": "x" * 201}, "thread_id"),
    ],
)
async def test_a_wrong_form_names_its_field(client: Client, fields: dict[str, str], param: str) -> None:
    response = await post_form(client, fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_broken_form_is_400(client: Client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = await client.http.post(PATH, content=b"--b\r\nbroken", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_form")


@pytest.mark.xdist_group("timing")
async def test_a_stream_does_not_notice_a_large_sheet_defect_16(client: Client, model: ModelServer) -> None:
    await ask(client, file_part("small.xlsx", sheet(1)), store=False)  # the workers are there
    content = await asyncio.to_thread(sheet, 20_000)
    model.script(reply(numbered(400), delay=0.005))
    gaps = []
    reading = None
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    async with client.http.stream("POST", PATH, json=body) as response:
        last = time.monotonic()
        async for _ in response.aiter_raw():
            now = time.monotonic()
            gaps.append(now - last)
            last = now
            if len(gaps) == 20:
                reading = asyncio.create_task(ask(client, file_part("big.xlsx", content), store=False))
    assert reading is not None
    assert (await reading).status_code == 200
    # The test's own client builds and sends half a megabyte in this loop, too.
    assert max(gaps[21:]) < 0.25


async def test_a_repeated_upload_keeps_one_attachment(server: Server, client: Client, model: ModelServer) -> None:
    model.script(answers.reply(["a"]))
    body = {"messages": [{"role": "user", "content": [file_part("n.txt", b"text")]}], "session_id": "s"}
    options: dict[str, Any] = {"json": body, "headers": {"Idempotency-Key": "k"}}
    both = await asyncio.gather(*(client.request("POST", PATH, **options) for _ in range(3)))
    assert len({response.content for response in both}) == 1
    assert await count_rows(server.core.database, "attachments") == [1]
