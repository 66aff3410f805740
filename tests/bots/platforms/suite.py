"""What every adapter is held to, given the stand-in of its platform.

A platform's test module derives a class from `SendingSuite` and names its stand-in:

    class TestTelegram(SendingSuite):
        fake_type = TelegramFake
"""

import asyncio
import os
import shutil
from datetime import timedelta
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import select

from app.bots.adapters.base import Target
from app.bots.adapters.http import Network
from app.bots.formatting.splitting import measure
from app.bots.outbox.models import DeliveryRow
from app.bots.outbox.planning import new_delivery, new_fragments
from app.bots.outbox.store import add_delivery
from app.bots.platforms import platform_factories
from app.bots.service import BotService
from app.bots.umo import Umo
from app.chat.models import MessageRow, SessionRow
from app.chat.parts import Text, to_stored
from app.clock import utc_now
from app.core import open_core
from tests.bots.platforms import crash_child
from tests.bots.platforms.conftest import BOT, PNG, Stage
from tests.support.answers import reply, status
from tests.support.model_server import ModelServer
from tests.support.platforms.base import FakePlatform, Fault, serving
from tests.support.programs import FORK
from tests.support.server import make_settings

MARKDOWN = (
    "# Title\n\nSome **bold** and *italic* text, `code`, a [link](https://example.com/a?b=1&c=2).\n\n- one\n- two"
)


class SendingSuite:
    """The tests of sending. `is_keyed` says that the platform shows a repeated wire key once."""

    fake_type: ClassVar[type[FakePlatform]]
    is_keyed: ClassVar[bool] = False

    async def test_a_message_is_delivered(self, stage: Stage) -> None:
        status, answer = await stage.send("hello")
        assert status == 200, answer
        assert [message.text for message in stage.fake.seen()] == ["hello"]
        assert answer["data"]["state"] == "sent"
        ids = [message.id for message in stage.fake.seen()]
        assert answer["data"]["message_ids"] in (ids, [])
        delivery = await stage.delivery(answer)
        assert (delivery["state"], delivery["umo"], delivery["origin"]) == ("sent", stage.umo(), "api")

    async def test_a_group_is_reached(self, stage: Stage) -> None:
        status, answer = await stage.send("hello all", group=True)
        assert status == 200, answer
        assert stage.fake.texts(stage.fake.group) == ["hello all"]

    async def test_a_queued_message_is_delivered_in_its_order(self, stage: Stage) -> None:
        answers = [await stage.send(f"number {n}", delivery="queue") for n in range(5)]
        assert [status for status, _ in answers] == [202] * 5
        assert (await stage.send("last"))[0] == 200
        assert stage.fake.texts() == [*(f"number {n}" for n in range(5)), "last"]

    async def test_a_long_text_is_split_within_the_limit_and_loses_nothing(self, stage: Stage) -> None:
        fake = stage.fake
        words = " ".join(f"wörd{n}😀" for n in range(2 * fake.limit // 8))
        status, answer = await stage.send(words)
        assert status == 200, answer
        texts = fake.texts()
        assert len(texts) > 1
        assert all(measure(text, fake.unit) <= fake.limit for text in texts)
        assert " ".join(texts).split() == words.split()
        assert [each["state"] for each in (await stage.delivery(answer))["fragments"]] == ["sent"] * len(texts)

    async def test_markdown_is_shown_without_its_marks_or_as_the_platform_shows_it(self, stage: Stage) -> None:
        status, answer = await stage.send(MARKDOWN)
        assert status == 200, answer
        text = "\n".join(stage.fake.texts())
        for word in ("Title", "bold", "italic", "code", "link", "one", "two"):
            assert word in text

    async def test_media_arrive_with_their_bytes(self, stage: Stage) -> None:
        if not stage.fake.takes_media:
            pytest.skip("the platform takes no media")
        id = await stage.upload()
        parts = [{"type": "plain", "text": "look"}, {"type": "image", "attachment_id": id}]
        status, answer = await stage.send(parts)
        assert status == 200, answer
        images = [message for message in stage.fake.seen() if message.kind == "image"]
        assert [image.content for image in images] == [PNG]
        assert any("look" in message.text for message in stage.fake.seen())

    async def test_a_rate_limit_is_waited_for(self, stage: Stage) -> None:
        self._script(stage, Fault("rate_limited", after=0.3))
        status, answer = await stage.send("patience")
        assert status == 200, answer
        assert stage.fake.texts() == ["patience"]
        assert len(stage.fake.calls) == 2

    async def test_a_rate_limit_that_lasts_too_long_is_a_bad_gateway(self, stage: Stage) -> None:
        self._script(stage, Fault("rate_limited", after=600))
        status, answer = await stage.send("patience")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert stage.fake.texts() == []
        # The chat rests, also for the next message; others do not.
        assert (await stage.send("again"))[0] == 502
        assert len(stage.fake.calls) == 1

    async def test_a_refusal_is_final_and_said(self, stage: Stage) -> None:
        self._script(stage, Fault("refused"))
        status, answer = await stage.send("no")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert len(stage.fake.calls) == 1
        assert (await stage.delivery(answer))["error_code"].startswith("delivery_failed")
        assert (await stage.send("yes"))[0] == 200
        assert stage.fake.texts() == ["yes"]

    async def test_a_chat_that_is_gone_takes_nothing_more_until_somebody_retries(self, stage: Stage) -> None:
        self._script(stage, Fault("gone"))
        status, first = await stage.send("hello?")
        assert (status, first["code"]) == (502, "delivery_failed")
        assert (await stage.send("still there?"))[0] == 502
        assert len(stage.fake.calls) == 1
        assert (await stage.send("others are", group=True))[0] == 200
        status, _ = await stage.call("POST", f"/api/v1/im/deliveries/{first['data']['delivery_id']}/retry")
        assert status == 202
        assert (await stage.send("back"))[0] == 200
        assert stage.fake.texts() == ["hello?", "back"]

    async def test_a_refused_token_stops_the_bot_until_it_is_changed(self, stage: Stage) -> None:
        self._script(stage, Fault("unauthorized"), Fault("unauthorized"))  # a fresh token is tried, where there is one
        status, answer = await stage.send("let me in")
        assert (status, answer["code"]) == (502, "delivery_failed")
        stage.fake.script.clear()
        calls = len(stage.fake.calls)
        assert (await stage.send("again"))[0] == 502
        assert (await stage.send("again", group=True))[0] == 502
        assert len(stage.fake.calls) == calls
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": stage.fake.config()}))[0] == 200
        assert (await stage.send("now"))[0] == 200
        assert stage.fake.texts() == ["now"]

    async def test_a_platform_that_is_not_there_is_tried_again(self, stage: Stage) -> None:
        config = {**stage.fake.config(), "api_base_url": "http://127.0.0.1:9"}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"config": config}))[0] == 200
        status, answer = await stage.send("anybody?")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert "could not be reached" in answer["message"]
        assert stage.fake.calls == []

    @pytest.mark.parametrize("wait_seconds", [0.8])
    async def test_a_message_whose_answer_never_comes_is_seen_once(self, stage: Stage) -> None:
        self._script(stage, *[Fault("hang_after")] * 9)
        status, answer = await stage.send("once")
        assert (status, answer["code"], answer["data"]["state"]) == (504, "delivery_timeout", "unknown")
        assert stage.fake.texts() == ["once"]

    @pytest.mark.parametrize("kind", ["close_after", "server_error_after"])
    async def test_a_message_whose_answer_is_lost_is_seen_once(self, stage: Stage, kind: str) -> None:
        self._script(stage, Fault(kind))  # type: ignore[arg-type]
        status, answer = await stage.send("once")
        if self.is_keyed:
            assert status == 200, answer
        else:
            assert (status, answer["data"]["state"]) == (504, "unknown")
            assert len(stage.fake.calls) == 1
        assert stage.fake.texts() == ["once"]
        assert (await stage.send("next"))[0] == 200
        assert stage.fake.texts() == ["once", "next"]

    @pytest.mark.parametrize("kind", ["close_before", "server_error"])
    async def test_a_message_that_may_have_arrived_is_seen_at_most_once(self, stage: Stage, kind: str) -> None:
        self._script(stage, Fault(kind))  # type: ignore[arg-type]
        status, answer = await stage.send("maybe")
        assert status in (200, 504), answer
        assert stage.fake.texts() in ([], ["maybe"])
        assert (status == 200) == (stage.fake.texts() == ["maybe"])

    async def test_a_refused_format_is_sent_as_plain_text_once(self, stage: Stage) -> None:
        self._script(stage, Fault("bad_format"))
        status, answer = await stage.send("some **bold** text")
        assert status == 200, answer
        assert len(stage.fake.texts()) == 1
        assert "bold" in stage.fake.texts()[0]

    async def test_a_session_that_the_platform_cannot_have_is_refused(self, stage: Stage) -> None:
        if (session := stage.fake.bad_session) is None:
            pytest.skip("every session is possible")
        status, answer = await stage.send("x", session)
        assert (status, answer["code"]) == (400, "invalid_umo")
        assert stage.fake.calls == []

    async def test_secrets_are_neither_shown_nor_logged(
        self, stage: Stage, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        self._script(stage, Fault("close_after"), Fault("refused"))
        await stage.send("the quick brown fox")
        await stage.send("the quick brown fox")
        _, shown = await stage.call("GET", f"/api/v1/bots/{BOT}")
        out, err = capfd.readouterr()
        logged = out + err + caplog.text
        assert "brown fox" not in logged
        for name, value in stage.fake.config().items():
            if name not in shown["data"]["config"] and isinstance(value, str):
                assert value not in logged + str(shown)

    def _script(self, stage: Stage, *faults: Fault) -> None:
        for fault in faults:
            if fault.kind in stage.fake.faults_missing:
                pytest.skip(f"the platform has no {fault.kind}")
        stage.fake.script = list(faults)


class ReceivingSuite:
    """The tests of receiving. `has_groups` and `has_media` say what the platform knows."""

    fake_type: ClassVar[type[FakePlatform]]
    has_groups: ClassVar[bool] = True
    has_media: ClassVar[bool] = True

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allow": ["*"]}

    @pytest.fixture(autouse=True)
    def echo(self, model: ModelServer) -> None:
        """The model says what it was told."""
        model.default = lambda body: reply([_last_text(body["messages"][-1]["content"])])

    async def test_a_message_is_answered_in_its_session(self, stage: Stage) -> None:
        await stage.fake.receive("hello there")
        await stage.fake.until(lambda: stage.fake.texts() == ["hello there"])
        sessions = await self._sessions(stage)
        assert [session.platform_id for session in sessions] == [BOT]
        assert sessions[0].id.startswith(f"im:{BOT}:FriendMessage:")
        assert sessions[0].creator.startswith(f"im!{BOT}!")

    async def test_an_event_that_is_reported_again_is_answered_once(self, stage: Stage) -> None:
        await stage.fake.receive("once", times=3)
        await stage.fake.receive("twice", times=2)
        await stage.fake.until(lambda: stage.fake.texts() == ["once", "twice"])

    async def test_old_messages_and_those_of_bots_are_not_answered(self, stage: Stage) -> None:
        await stage.fake.receive("yesterday", age_seconds=86_400)
        await stage.fake.receive("beep", is_bot=True)
        await stage.fake.receive("now")
        await stage.fake.until(lambda: stage.fake.texts() == ["now"])
        assert len(stage.fake.seen()) == 1

    async def test_a_group_is_answered_when_the_bot_is_addressed(self, stage: Stage) -> None:
        self._need(self.has_groups)
        await stage.fake.receive("not for you", group=True, addressed=False)
        await stage.fake.receive("for you", group=True)
        await stage.fake.until(lambda: len(stage.fake.seen(stage.fake.group)) == 1)
        assert "for you" in stage.fake.texts(stage.fake.group)[0]
        assert "not for you" not in stage.fake.texts(stage.fake.group)[0]

    @pytest.mark.parametrize("settings", [{"allow": ["*"], "groups": "none"}])
    async def test_groups_can_be_turned_off(self, stage: Stage) -> None:
        self._need(self.has_groups)
        await stage.fake.receive("for you", group=True)
        await stage.fake.receive("in private")
        await stage.fake.until(lambda: stage.fake.texts() == ["in private"])
        assert stage.fake.texts(stage.fake.group) == []

    @pytest.mark.parametrize("settings", [{}])
    async def test_nobody_may_talk_to_it_until_the_operator_has_approved_the_code(self, stage: Stage) -> None:
        await stage.fake.receive("let me in")
        await stage.fake.receive("please")
        await stage.fake.until(lambda: len(stage.fake.texts()) == 2)
        _, answer = await stage.call("GET", f"/api/v1/bots/{BOT}/pairings")
        (pairing,) = answer["data"]["pairings"]
        assert pairing["approved"] is None
        assert all(pairing["code"] in text for text in stage.fake.texts())
        path = f"/api/v1/bots/{BOT}/pairings/{pairing['code']}"
        assert (await stage.call("POST", path, {"approve": True}))[0] == 200
        await stage.fake.receive("thanks")
        await stage.fake.until(lambda: stage.fake.texts()[2:] == ["thanks"])
        assert (await stage.call("POST", path, {"approve": False}))[0] == 200
        await stage.fake.receive("and now?")
        await stage.fake.receive("?", sender="42")
        assert (await stage.call("POST", f"/api/v1/bots/{BOT}/pairings/NOPE", {"approve": True}))[0] == 404

    async def test_commands(self, stage: Stage, model: ModelServer) -> None:
        gate = asyncio.Event()
        model.script(reply(["first ", "second"], gate=gate, hold_after=1))
        await stage.fake.receive("/id")
        await stage.fake.until(lambda: len(stage.fake.texts()) == 1)
        assert f"{BOT}:FriendMessage:" in stage.fake.texts()[0]
        await stage.fake.receive("tell me a long story")
        await model.wait_for_requests(1)
        await stage.fake.receive("/stop")
        await stage.fake.until(lambda: "Stopped." in stage.fake.texts())
        gate.set()
        await stage.fake.receive("/new")
        await stage.fake.until(lambda: "This is a new conversation." in stage.fake.texts())
        await stage.fake.receive("again")
        await stage.fake.until(lambda: stage.fake.texts()[-1] == "again")
        assert len(await self._sessions(stage)) == 2
        assert len(model.requests[-1].body["messages"]) <= 2  # nothing of the first conversation

    async def test_a_file_arrives_as_an_attachment(self, stage: Stage) -> None:
        self._need(self.has_media)
        await stage.fake.receive("read this", file=("notes.txt", b"the hostas have arrived"))
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        (session,) = await self._sessions(stage)
        parts = await self._parts(stage, session.id)
        assert [part["type"] for part in parts[0]] == ["plain", "file"]
        assert parts[0][1]["attachment_id"]

    async def test_a_quoted_answer_is_known_as_our_message(self, stage: Stage) -> None:
        await stage.fake.receive("first")
        await stage.fake.until(lambda: stage.fake.texts() == ["first"])
        await stage.fake.receive("what do you mean?", quote=stage.fake.seen()[0])
        await stage.fake.until(lambda: len(stage.fake.texts()) == 2)
        (session,) = await self._sessions(stage)
        parts = await self._parts(stage, session.id)
        assert [part["type"] for part in parts[2]] == ["reply", "plain"]

    async def test_a_bot_that_is_turned_off_and_on_again_answers_once(self, stage: Stage) -> None:
        """AstrBot #7259."""
        for enabled in (False, True, False, True):
            assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", {"enabled": enabled}))[0] == 200
        await stage.fake.receive("still one?")
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        await stage.fake.receive("yes")
        await stage.fake.until(lambda: "yes" in stage.fake.texts())
        assert stage.fake.texts() == ["still one?", "yes"]

    async def test_a_long_reply_is_split(self, stage: Stage, model: ModelServer) -> None:
        words = [f"word{n} " for n in range(stage.fake.limit // 3)]
        model.script(reply(words, one_write=True))
        await stage.fake.receive("go on")
        await stage.fake.until(lambda: "".join("".join(stage.fake.texts()).split()) == "".join(words).replace(" ", ""))
        assert len(stage.fake.texts()) > 1

    async def test_a_model_that_fails_is_said(self, stage: Stage, model: ModelServer) -> None:
        model.script(*[status(500)] * 4)
        await stage.fake.receive("hello?")
        await stage.fake.until(lambda: bool(stage.fake.texts()))
        assert "⚠️" in stage.fake.texts()[0]

    async def _sessions(self, stage: Stage) -> list[Any]:
        query = select(SessionRow.id, SessionRow.platform_id, SessionRow.creator).order_by(SessionRow.id)
        return await stage.server.core.database.read(lambda connection: list(connection.execute(query)))

    async def _parts(self, stage: Stage, session_id: str) -> list[Any]:
        query = select(MessageRow.parts).where(MessageRow.session_id == session_id).order_by(MessageRow.id)
        return await stage.server.core.database.read(
            lambda connection: [row.parts for row in connection.execute(query)]
        )

    @staticmethod
    def _need(ability: bool) -> None:
        if not ability:
            pytest.skip("the platform has none")


class LiveSuite:
    """The tests of replies that are shown while they are made."""

    fake_type: ClassVar[type[FakePlatform]]

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {"allow": ["*"]}

    async def test_a_reply_is_seen_while_it_is_made(self, stage: Stage, model: ModelServer) -> None:
        gate = asyncio.Event()
        model.script(reply(["The beginning", " and the end"], gate=gate, hold_after=1))
        await stage.fake.receive("tell me")
        await stage.fake.until(lambda: stage.fake.texts() == ["The beginning"])
        gate.set()
        await stage.fake.until(lambda: stage.fake.texts() == ["The beginning and the end"])
        assert len(stage.fake.seen()) == 1

    @pytest.mark.parametrize("settings", [{"allow": ["*"], "live_replies": False}])
    async def test_a_reply_is_sent_whole_where_that_is_set(self, stage: Stage, model: ModelServer) -> None:
        model.script(reply(["The ", "beginning ", "and ", "the ", "end"], delay=0.1))
        await stage.fake.receive("tell me")
        await stage.fake.until(lambda: stage.fake.texts() == ["The beginning and the end"])
        assert [message.edits for message in stage.fake.seen()] == [0]

    async def test_the_end_is_seen_although_edits_were_limited(self, stage: Stage, model: ModelServer) -> None:
        gate = asyncio.Event()
        model.script(reply(["The beginning", " and the end"], gate=gate, hold_after=1))
        await stage.fake.receive("tell me")
        await stage.fake.until(lambda: stage.fake.texts() == ["The beginning"])
        stage.fake.script = [Fault("rate_limited", after=0.2), Fault("rate_limited", after=0.2)]
        gate.set()
        await stage.fake.until(lambda: stage.fake.texts() == ["The beginning and the end"])


def _last_text(content: Any) -> str:
    return content if isinstance(content, str) else str(content[-1].get("text", ""))


class CrashSuite:
    """What is seen after the process was killed while it was sending; `is_keyed` as in `SendingSuite`.

    `CRASH_TIMES` in the environment says how often each point is tried.
    """

    fake_type: ClassVar[type[FakePlatform]]
    is_keyed: ClassVar[bool] = False

    @pytest.mark.parametrize("time", range(int(os.environ.get("CRASH_TIMES", "1"))))
    @pytest.mark.parametrize(
        "point", ["before_sending", "after_sending", "after_bytes", "after_answer", "before_sent", "after_sent"]
    )
    async def test_kill_9_while_a_message_is_sent(self, data_dir: Path, template: Path, point: str, time: int) -> None:
        async with serving(self.fake_type()) as fake:
            data_dir.mkdir()
            shutil.copy(template, data_dir / "palaver.db")
            await _queue(data_dir, fake)
            if point == "after_bytes":
                fake.script = [None, Fault("hang_after")]
            first = _child(data_dir, point)
            if point == "after_bytes":
                await fake.until(lambda: len(fake.calls) == 2 and len(fake.seen()) == 2, 30)
                first.kill()
            assert await _exit_code(first) == -9
            await crash_child.main(data_dir, "none")
            states = await _states(data_dir)
        texts = fake.texts()
        assert [text for text in texts if text != "two"] == ["one", "three"]
        assert states[0] == states[2] == "sent"
        if self.is_keyed or point in ("before_sending", "after_sent"):
            assert (texts, states[1]) == (["one", "two", "three"], "sent")
        else:
            assert texts in (["one", "two", "three"], ["one", "three"])
            assert states[1] == "unknown"
            assert ("two" in texts) == (point != "after_sending")


async def _queue(data_dir: Path, fake: FakePlatform) -> None:
    """Make a bot, and queue three messages to one chat."""
    core = open_core(make_settings(data_dir))
    bots = BotService(
        core.database, core.secrets, factories=platform_factories(Network(allow_private=True)), builtin={}
    )
    await bots.create(id=BOT, adapter=fake.adapter, config=fake.config())
    target = Target("FriendMessage", fake.session)
    umo = Umo(BOT, target.message_type, target.session_id)
    async with bots.use(BOT) as bot:
        for text in ("one", "two", "three"):
            fragments = bot.adapter.plan(target, [Text(text)])
            now = utc_now()
            values = new_delivery(
                text, umo, target, to_stored([Text(text)]), "api", text, now=now, deadline=now + timedelta(minutes=5)
            )
            rows = new_fragments(text, fragments)
            await core.database.write(partial(add_delivery, values=values, fragments=rows))
    await bots.close()
    await core.database.close()


async def _states(data_dir: Path) -> list[str]:
    core = open_core(make_settings(data_dir))
    query = select(DeliveryRow.state).order_by(DeliveryRow.seq)
    states = await core.database.read(lambda connection: list(connection.execute(query).scalars()))
    await core.database.close()
    return states


def _child(data_dir: Path, point: str) -> ForkServerProcess:
    """A process that dies while it sends what is queued; it is forked from one that has imported all it needs."""
    process = FORK.Process(target=crash_child.run, args=(data_dir, point))
    process.start()
    return process


async def _exit_code(process: ForkServerProcess) -> int | None:
    await asyncio.to_thread(process.join, 60)
    code = process.exitcode
    process.kill()
    process.join()
    process.close()
    return code
