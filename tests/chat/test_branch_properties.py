"""Whatever is done to turns: every message can be reached, the path is in order, and the model is shown just that."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server, make_settings, migrated_template, running

T = TypeVar("T")

SESSIONS = "/api/v1/chat/sessions"
PLACES = st.integers(min_value=0, max_value=30)


def reply_to(line: tuple[str, ...]) -> str:
    """What the model says to the end of a path: neighbouring texts of the user come as one."""
    texts: list[str] = []
    for text in reversed(line):
        if not text.startswith("user"):
            break
        texts.insert(0, text)
    return "You said: " + "\n\n".join(texts)


class TurnMachine(RuleBasedStateMachine):
    """A session and its forks, beside what they should be: the texts of each message and of what is before it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.folder = TemporaryDirectory()
        self.sessions: dict[str, dict[int, tuple[str, ...]]] = {}
        self.paths: dict[str, tuple[str, ...]] = {}
        self.number = 0
        self.run(self.start())

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(act)

    async def start(self) -> None:
        folder = Path(self.folder.name)
        template = migrated_template(folder)
        data_dir = folder / "data"
        data_dir.mkdir()
        template.rename(data_dir / "palaver.db")
        self.model = await self.stack.enter_async_context(ModelServer())
        provider = {"id": "scripted", "base_url": self.model.base_url, "api_key": "sk-1", "max_retries": 0}
        made = make_settings(data_dir, providers=[provider])
        self.server: Server = await self.stack.enter_async_context(running(made))
        self.client = await self.stack.enter_async_context(Client(self.server, await self.server.new_key()))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.loop.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.send_to("s0")

    def session(self, place: int) -> str:
        names = sorted(self.sessions)
        return names[place % len(names)]

    def message(self, session_id: str, place: int, role: str | None = None) -> int | None:
        """One of the session's messages; of the user's, or of the model's, if a role is given."""
        ids = [
            message_id
            for message_id, line in sorted(self.sessions[session_id].items())
            if role is None or line[-1].startswith(role)
        ]
        return ids[place % len(ids)] if ids else None

    def send_to(self, session_id: str) -> None:
        self.number += 1
        text = f"user {self.number}"
        self.model.requests.clear()
        self.run(self.client.chat(text, session_id=session_id))
        before = self.paths.get(session_id, ())
        self.check_shown((*before, text))
        self.take(session_id, (*before, text), (*before, text, reply_to((*before, text))))

    def take(self, session_id: str, *lines: tuple[str, ...]) -> None:
        """Note the newest messages, which are the path's last ones."""
        newest = self.run(self.client.history(session_id))[-len(lines) :]
        messages = self.sessions.setdefault(session_id, {})
        for message, line in zip(newest, lines, strict=True):
            assert message["parts"][0]["text"] == line[-1]
            messages[message["id"]] = line
        self.paths[session_id] = lines[-1]

    def check_shown(self, line: tuple[str, ...]) -> None:
        """Check that the model was shown this path; neighbouring texts of the user come as one."""
        shown = [message["content"] for message in self.model.requests[-1].body["messages"][1:]]
        assert "\n\n".join(shown) == "\n\n".join(line)

    @rule(place=PLACES)
    def send(self, place: int) -> None:
        self.send_to(self.session(place))

    @rule(session=PLACES, place=PLACES)
    def edit(self, session: int, place: int) -> None:
        session_id = self.session(session)
        if (message_id := self.message(session_id, place, "user")) is None:
            return
        self.number += 1
        text = f"user {self.number}"
        content = {"type": "user", "message": text}
        path = f"{SESSIONS}/{session_id}/messages/{message_id}"
        response = self.run(self.client.request("PATCH", path, json={"username": "alice", "content": content}))
        assert response.status_code == 200, response.text
        self.take(session_id, (*self.sessions[session_id][message_id][:-1], text))

    @rule(session=PLACES, place=PLACES)
    def regenerate(self, session: int, place: int) -> None:
        session_id = self.session(session)
        if (message_id := self.message(session_id, place)) is None:
            return
        line = self.sessions[session_id][message_id]
        question = line if line[-1].startswith("user") else line[:-1]
        path = f"{SESSIONS}/{session_id}/messages/{message_id}/regenerate"
        self.model.requests.clear()
        response = self.run(self.client.post(path, {"username": "alice"}))
        assert response.status_code == 200, response.text
        self.check_shown(question)
        self.take(session_id, (*question, reply_to(question)))

    @rule(session=PLACES, place=PLACES)
    def select(self, session: int, place: int) -> None:
        session_id = self.session(session)
        if (message_id := self.message(session_id, place)) is None:
            return
        path = f"{SESSIONS}/{session_id}/messages/{message_id}/select"
        assert self.run(self.client.post(path, {"username": "alice"})).status_code == 200
        shown = self.run(self.client.history(session_id))
        assert message_id in [message["id"] for message in shown]
        self.paths[session_id] = self.sessions[session_id][shown[-1]["id"]]

    @rule(session=PLACES, place=PLACES)
    def delete(self, session: int, place: int) -> None:
        session_id = self.session(session)
        if (message_id := self.message(session_id, place)) is None:
            return
        path = f"{SESSIONS}/{session_id}/messages/{message_id}"
        response = self.run(self.client.request("DELETE", path, params={"username": "alice"}))
        assert response.status_code == 200, response.text
        gone = set(response.json()["data"]["deleted_ids"])
        messages = self.sessions[session_id]
        assert message_id in gone <= set(messages)
        question = messages[min(gone)]
        assert gone - {min(gone)} <= {
            id for id, line in messages.items() if line[:-1] == question and not line[-1].startswith("user")
        }
        for left, line in list(messages.items()):
            if left in gone:
                del messages[left]
            elif line[: len(question)] == question:
                rest = line[len(question) :]
                messages[left] = question[:-1] + (rest if rest[0].startswith("user") else rest[1:])
        shown = self.run(self.client.history(session_id))
        self.paths[session_id] = messages[shown[-1]["id"]] if shown else ()

    @precondition(lambda self: len(self.sessions) < 4)
    @rule(session=PLACES, place=PLACES)
    def fork(self, session: int, place: int) -> None:
        session_id = self.session(session)
        if (message_id := self.message(session_id, place)) is None:
            return
        name = f"s{len(self.sessions)}"
        body = {"username": "alice", "message_id": message_id, "session_id": name}
        response = self.run(self.client.post(f"{SESSIONS}/{session_id}/fork", body))
        assert response.status_code == 200, response.text
        line = self.sessions[session_id][message_id]
        self.take(name, *(line[: end + 1] for end in range(len(line))))

    @invariant()
    def every_message_is_reached_and_the_path_is_in_order(self) -> None:
        for session_id, messages in self.sessions.items():
            response = self.run(
                self.client.get(f"{SESSIONS}/{session_id}/messages", username="alice", all="true", limit=100)
            )
            listed = {message["id"]: message for message in response.json()["data"]["messages"]}
            assert listed.keys() == messages.keys()
            for message_id, message in listed.items():
                assert self.line_of(message_id, listed) == messages[message_id]
                siblings = {id for id, each in listed.items() if each["parent_id"] == message["parent_id"]}
                assert {message_id, *message["alternatives"]} == siblings
            shown = self.run(self.client.history(session_id))
            assert tuple(message["parts"][0]["text"] for message in shown) == self.paths[session_id]
            assert [message["id"] for message in shown] == sorted(id for id, each in listed.items() if each["on_path"])
            assert shown == [listed[message["id"]] for message in shown]
            # The path ends with a leaf, so that what is beside it leads to every message.
            assert not shown or all(each["parent_id"] != shown[-1]["id"] for each in listed.values())

    @staticmethod
    def line_of(message_id: int, listed: dict[int, dict[str, Any]]) -> tuple[str, ...]:
        line: list[str] = []
        place: int | None = message_id
        while place is not None:
            line.append(listed[place]["parts"][0]["text"])
            place = listed[place]["parent_id"]
        return tuple(reversed(line))


TestTurns = TurnMachine.TestCase
TestTurns.settings = settings(
    max_examples=6, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
