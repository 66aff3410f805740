"""What the model is shown of files and quotations."""

import base64
from typing import Any

from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


async def upload(client: Client, name: str, content: bytes) -> str:
    response = await client.request("POST", "/api/v1/file", files={"file": (name, content)})
    return str(response.json()["data"]["attachment_id"])


def shown(model: ModelServer) -> Any:
    return model.requests[-1].body["messages"][-1]["content"]


async def test_an_image_goes_to_the_model_as_an_image(client: Client, model: ModelServer) -> None:
    picture = await upload(client, "dot.png", PNG)
    message = [{"type": "plain", "text": "What is it?"}, {"type": "image", "attachment_id": picture}]
    await client.chat(message, session_id="s1")
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert shown(model) == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    assert (await client.history("s1"))[0]["parts"] == message


async def test_a_text_file_goes_as_text_and_others_as_a_note(client: Client, model: ModelServer) -> None:
    notes = await upload(client, "notes.txt", "Größe: 5".encode())
    archive = await upload(client, "things.bin", bytes(range(256)) * 8)
    await client.chat([{"type": "file", "attachment_id": notes}, {"type": "file", "attachment_id": archive}])
    assert shown(model).startswith("[file: notes.txt]\nGröße: 5\n[end of file]\n[file: things.bin, ")


async def test_a_file_that_is_gone_is_said_to_be(client: Client, model: ModelServer) -> None:
    notes = await upload(client, "notes.txt", b"text")
    await client.chat([{"type": "file", "attachment_id": notes, "filename": "n.txt"}], session_id="s1")
    await client.request("DELETE", f"/api/v1/files/{notes}")
    await client.chat("And now?", session_id="s1")
    assert model.requests[-1].body["messages"][1]["content"] == "[file: n.txt, no longer available]"


async def test_a_quotation_is_shown_with_its_text(client: Client, model: ModelServer) -> None:
    await client.chat("The sky is green", session_id="s1")
    question, answer = await client.history("s1")
    await client.chat(
        [
            {"type": "reply", "message_id": question["id"]},
            {"type": "reply", "message_id": str(answer["id"]), "selected_text": "You said"},
            {"type": "plain", "text": "Is it?"},
        ],
        session_id="s1",
    )
    assert shown(model) == "> The sky is green\n> You said\nIs it?"


async def test_a_key_bound_to_a_user_cannot_attach_what_is_not_its_own_defect_11(
    server: Server, client: Client, model: ModelServer
) -> None:
    secret = await upload(client, "secret.txt", b"4711")
    async with Client(server, await server.new_key(username="bob")) as bobs:
        message = [{"type": "file", "attachment_id": secret}]
        response = await bobs.post("/api/v1/chat", {"username": "bob", "message": message})
        assert (response.status_code, response.json()["message"]) == (400, f"attachment not found: {secret}")
        own = await upload(bobs, "own.txt", b"mine")
        await bobs.chat([{"type": "file", "attachment_id": own}], username="bob")
    assert "mine" in shown(model)
    assert "4711" not in str([request.body for request in model.requests])


async def test_addresses_in_a_message_are_never_fetched_defect_26(client: Client, model: ModelServer) -> None:
    async with ModelServer() as inside:
        address = f"{inside.base_url}/secret.png"
        part = {"type": "image", "url": address, "path": address, "file": address}
        response = await client.post("/api/v1/chat", {"username": "alice", "message": [part]})
        assert (response.status_code, response.json()["message"]) == (400, "image part missing attachment_id")
        await client.chat(f"Look at {address} and ![this]({address})")
        assert inside.connections == 0
    assert address in shown(model)
