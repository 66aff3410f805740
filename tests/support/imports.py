"""Long sessions, imported: quicker than to have them answered."""

import json
from collections.abc import Sequence

from tests.support.client import Client


async def import_session(client: Client, username: str, turns: Sequence[tuple[str, str]]) -> str:
    """Import a session of questions and answers; returns its id."""
    messages = [
        {"id": place, "parent_id": place - 1 or None, "on_path": True, "role": role, "status": "complete",
         "parts": [{"type": "plain", "text": text}], "created_at": "2026-11-21T01:20:58+00:00"}
        for place, (role, text) in enumerate(
            [each for question, answer in turns for each in (("user", question), ("assistant", answer))], 1
        )
    ]  # fmt: skip
    session = {
        "display_name": "Long",
        "created_at": "2026-11-21T01:20:58+00:00",
        "updated_at": "2026-11-21T01:20:58+00:00",
    }
    lines = [
        {"type": "session", **session},
        *({"type": "message", **message} for message in messages),
        {"type": "end", "message_count": len(messages)},
    ]
    answer = await client.request(
        "POST",
        "/api/v1/chat/sessions/import",
        params={"username": username},
        content="\n".join(map(json.dumps, lines)),
        headers={"Content-Type": "application/jsonl"},
    )
    assert answer.status_code < 300, answer.text
    sessions = (await client.get("/api/v1/chat/sessions", username=username)).json()["data"]["sessions"]
    return str(sessions[0]["session_id"])
