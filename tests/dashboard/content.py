"""A server that has been used for a while: what the pictures show."""

import io

from PIL import Image

from tests.support.answers import reply, tool_calls
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

USERNAME = "alice"
ANSWER = """Shade is no reason for bare ground. Three plants that like it:

| Plant | Height | Flowers |
| --- | ---: | --- |
| Barrenwort | 30 cm | April, yellow |
| Lungwort | 25 cm | March, **pink to blue** |
| Wood fern | 80 cm | none |

Plant them *in autumn*, a hand's breadth apart:

```python
def plants(area_m2: float, spacing_cm: float = 18) -> int:
    # One plant for each square of the spacing.
    return round(area_m2 * (100 / spacing_cm) ** 2)

print(plants(4.5))  # 139
```

Water them well in the first summer; after that they look after themselves."""
ARABIC_QUESTION = "هل ينمو السرخس في الظل؟"
ARABIC = "نعم، ينمو السرخس جيداً في الظل إذا بقيت التربة رطبة."


def pieces(text: str) -> list[str]:
    return [text[start : start + 12] for start in range(0, len(text), 12)]


async def fill(server: Server, client: Client, model: ModelServer) -> str:
    """Make sessions, documents, roles, keys, bots and so on; returns the id of the session to show."""
    configs = server.settings.data_dir / "configs"
    configs.mkdir(exist_ok=True)
    (configs / "default.toml").write_text('name = "Garden"\n[tools]\nuse = ["now", "search_knowledge"]\n')
    (configs / "poet.toml").write_text('name = "Poet"\nsystem_prompt = "Answer in verse."\nmodel = "verse-1"\n')
    (configs / "careful.toml").write_text('name = "Careful"\n[tools]\nuse = ["message"]\nask = ["message"]\n')
    for text in ("Wann schneide ich die Rosen?", "春天种什么？", "Which soil for blueberries?", "Names for a hedgehog"):
        model.script(reply(["That depends."]))
        await client.chat(text, username=USERNAME)
    session_id = "garden"
    model.script(reply(pieces(ARABIC)))
    await client.chat(ARABIC_QUESTION, session_id=session_id, username=USERNAME)
    model.script(
        tool_calls(("c1", "now", '{"timezone":"Europe/Berlin"}')),
        reply(pieces(ANSWER), reasoning=["Shade, and dry soil under trees."]),
    )
    await client.chat("What grows in the shade under our oak?", session_id=session_id, username=USERNAME)
    changes = {"username": USERNAME, "display_name": "The shady corner"}
    await client.request("PATCH", f"/api/v1/chat/sessions/{session_id}", json={**changes, "labels": ["garden"]})
    await _fill_knowledge(client)
    await _fill_files(client)
    await _fill_rest(client)
    await _wait_for_a_decision(client, model)
    return session_id


async def _fill_files(client: Client) -> None:
    picture = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(picture, "PNG")
    for name, content in (
        ("notes of the garden.txt", b"Prune the roses."),
        ("بذور.csv", b"name,weight\n"),
        ("moon.png", picture.getvalue()),
    ):
        await client.request("POST", "/api/v1/file", files={"file": (name, content)})


async def _wait_for_a_decision(client: Client, model: ModelServer) -> None:
    message = '{"umo": "support-hook:FriendMessage:42", "content": "Your plants are on the way."}'
    model.script(tool_calls(("c2", "message", message)))
    async with client.chatting("Tell the customer", username="bob", config_id="careful") as events:
        async for event in events:
            if event.type == "approval_required":
                break


async def _fill_knowledge(client: Client) -> None:
    for name, description in (("Garden", "What grows where"), ("Recipes", "What to do with the harvest")):
        made = await client.post("/api/v1/knowledge/collections", {"name": name, "description": description})
        collection = made.json()["data"]["collection_id"]
        for title, text in (
            ("Shade", "Ferns, barrenwort and lungwort grow in the shade of old trees."),
            ("Roses", "Roses are cut when the forsythia flowers."),
            ("Soil", "Blueberries want an acid soil."),
        ):
            await client.post(f"/api/v1/knowledge/collections/{collection}/documents", {"title": title, "text": text})


async def _fill_rest(client: Client) -> None:
    for name, icon, description, prompt in (
        ("Gardener", "🌿", "Knows the garden", "You are an old gardener. Answer in plain words, and give amounts."),
        ("Editor", "✏️", "Corrects texts", "Correct spelling and grammar. Change nothing else."),
    ):
        role = {"name": name, "icon": icon, "description": description, "system_prompt": prompt}
        await client.post("/api/kernel2/roles", role)
    for key in (
        {"name": "shop", "scopes": ["chat", "file"], "expires_in_days": 90},
        {"name": "alice's phone", "scopes": ["chat"], "username": USERNAME},
        {"name": "importer", "scopes": ["knowledge"]},
    ):
        made = await client.post("/api/v1/api-keys", key)
    await client.post(f"/api/v1/api-keys/{made.json()['data']['key_id']}/revoke")
    for bot, url in (("support-hook", "https://hooks.example.com/palaver"), ("news", "https://news.example.com/in")):
        await client.post("/api/v1/bots", {"id": bot, "adapter": "webhook", "config": {"url": url}})
