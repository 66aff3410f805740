"""Other people's clients against the stand-ins: if they have no complaint, the stand-ins are like their platforms.

`pytest -m clients tests/bots/platforms` runs them with the Python that CLIENTS_PYTHON names (this one if unset), as
what they pin does not fit what Palaver pins. A program prints `ready`, and the address at which it takes events if it
has one, when it is ready to be written to; and `good` at its end.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.platforms.base import FakePlatform, serving
from tests.support.platforms.discord import DiscordFake
from tests.support.platforms.line import LineFake
from tests.support.platforms.matrix import MatrixFake
from tests.support.platforms.telegram import TelegramFake

CLIENTS_PYTHON = os.environ.get("CLIENTS_PYTHON", sys.executable)

DISCORD_PY = """
import asyncio, io, os
import discord, yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
url = os.environ["URL"]
Route.BASE = url + "/api/v10"
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(url.replace("http", "ws", 1) + "/gateway")
intents = discord.Intents.default()
intents.message_content = True
client = discord.Client(intents=intents)
heard = asyncio.Queue()
@client.event
async def on_ready():
    print("ready", flush=True)
@client.event
async def on_message(message):
    if message.author != client.user:
        heard.put_nowait(message)
async def main():
    running = asyncio.create_task(client.start("discord.test.token"))
    message = await asyncio.wait_for(heard.get(), 10)
    assert (message.content, message.author.name) == ("hello", "person42"), message
    assert client.user.name == "palaver"
    async with message.channel.typing():
        sent = await message.channel.send("one")
    edited = await sent.edit(content="two")
    assert edited.content == "two", edited
    answer = await message.reply("three", file=discord.File(io.BytesIO(b"some notes"), "notes.txt"))
    assert answer.reference.message_id == message.id
    await sent.delete()
    stranger = client.get_partial_messageable(1)
    try:
        await stranger.send("x")
    except discord.NotFound as error:
        assert error.code == 10003, error
    else:
        raise AssertionError("a channel that nobody knows")
    await client.close()
    running.cancel()
    print("good", flush=True)
asyncio.run(main())
"""
AIOGRAM = """
import asyncio, os
from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import BufferedInputFile
session = AiohttpSession(api=TelegramAPIServer.from_base(os.environ["URL"]))
bot, dispatcher, heard = Bot("123456:telegram-test-token", session=session), Dispatcher(), asyncio.Queue()
@dispatcher.message()
async def take(message):
    heard.put_nowait(message)
async def main():
    me = await bot.get_me()
    assert (me.id, me.username) == (7, "palaver_bot"), me
    polling = asyncio.create_task(dispatcher.start_polling(bot, handle_signals=False, close_bot_session=False))
    print("ready", flush=True)
    message = await asyncio.wait_for(heard.get(), 10)
    assert (message.text, message.chat.type) == ("hello", "private"), message
    await bot.send_chat_action(message.chat.id, "typing")
    sent = await message.answer("<b>one</b>", parse_mode="HTML")
    assert sent.text == "one", sent
    edited = await sent.edit_text("two")
    assert edited.text == "two", edited
    await message.reply_document(BufferedInputFile(b"some notes", "notes.txt"))
    await sent.delete()
    try:
        await bot.send_message(message.chat.id, "<b>", parse_mode="HTML")
    except TelegramBadRequest as error:
        assert "can't parse entities" in str(error), error
    else:
        raise AssertionError("broken HTML")
    await dispatcher.stop_polling()
    await polling
    await session.close()
    print("good", flush=True)
asyncio.run(main())
"""
MATRIX_NIO = """
import asyncio, io, os
import nio
room = "!direct:example.org"
async def main():
    client = nio.AsyncClient(os.environ["URL"], "@palaver:example.org")
    client.access_token, client.user_id = "syt_matrix_test_token", "@palaver:example.org"
    me = await client.whoami()
    assert (me.user_id, me.device_id) == ("@palaver:example.org", "PALAVER"), me
    heard = asyncio.Queue()
    async def take(room, event):
        heard.put_nowait((room.room_id, event.body))
    client.add_event_callback(take, nio.RoomMessageText)
    first = await client.sync(timeout=0)
    assert isinstance(first, nio.SyncResponse), first
    syncing = asyncio.create_task(client.sync_forever(timeout=2000, since=first.next_batch))
    print("ready", flush=True)
    assert await asyncio.wait_for(heard.get(), 10) == (room, "hello")
    await client.room_typing(room, True)
    text = {"msgtype": "m.text", "body": "one"}
    sent = await client.room_send(room, "m.room.message", text)
    again = await client.room_send(room, "m.room.message", text, tx_id="the-same")
    assert (await client.room_send(room, "m.room.message", text, tx_id="the-same")).event_id == again.event_id
    relation = {"rel_type": "m.replace", "event_id": sent.event_id}
    change = {"msgtype": "m.text", "body": "* two", "m.new_content": {"msgtype": "m.text", "body": "two"}}
    edited = await client.room_send(room, "m.room.message", {**change, "m.relates_to": relation})
    assert isinstance(edited, nio.RoomSendResponse), edited
    uploaded, _ = await client.upload(io.BytesIO(b"some notes"), "text/plain", "notes.txt", filesize=10)
    file = {"msgtype": "m.file", "body": "notes.txt", "filename": "notes.txt", "url": uploaded.content_uri}
    assert isinstance(await client.room_send(room, "m.room.message", file), nio.RoomSendResponse)
    assert isinstance(await client.room_redact(room, again.event_id), nio.RoomRedactResponse)
    client.access_token = "another"
    refused = await client.room_send(room, "m.room.message", text)
    assert refused.status_code == "M_UNKNOWN_TOKEN", refused
    syncing.cancel()
    await client.close()
    print("good", flush=True)
asyncio.run(main())
"""
LINE_BOT_SDK = """
import asyncio, os, uuid
from aiohttp import web
from linebot.v3 import WebhookParser
from linebot.v3.exceptions import InvalidSignatureError
from linebot.v3.messaging import (
    AsyncApiClient, AsyncMessagingApi, Configuration, PushMessageRequest, ReplyMessageRequest,
    ShowLoadingAnimationRequest, TextMessage,
)
from linebot.v3.messaging.exceptions import ApiException
parser, heard = WebhookParser("0123456789abcdef0123456789abcdef"), asyncio.Queue()
async def take(request):
    body, signature = (await request.read()).decode(), request.headers["x-line-signature"]
    for event in parser.parse(body, signature):
        heard.put_nowait(event)
    try:
        parser.parse(body + " ", signature)
    except InvalidSignatureError:
        return web.Response()
    raise AssertionError("a signature for another body")
async def main():
    app = web.Application()
    app.add_routes([web.post("/", take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("ready", f"http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
    event = await asyncio.wait_for(heard.get(), 10)
    assert (event.message.text, event.delivery_context.is_redelivery) == ("hello", False), event
    async with AsyncApiClient(Configuration(host=os.environ["URL"], access_token="line-test-token/+=")) as client:
        api = AsyncMessagingApi(client)
        assert (await api.get_bot_info()).display_name == "Palaver"
        user = event.source.user_id
        await api.show_loading_animation(ShowLoadingAnimationRequest(chat_id=user, loading_seconds=5))
        reply = ReplyMessageRequest(reply_token=event.reply_token, messages=[TextMessage(text="one")])
        assert (await api.reply_message(reply)).sent_messages[0].id
        push, key = PushMessageRequest(to=user, messages=[TextMessage(text="two")]), str(uuid.uuid4())
        assert (await api.push_message(push, x_line_retry_key=key)).sent_messages[0].id
        for status, call in ((409, api.push_message(push, x_line_retry_key=key)), (400, api.reply_message(reply))):
            try:
                await call
            except ApiException as error:
                assert error.status == status, error
            else:
                raise AssertionError(status)
    await runner.cleanup()
    print("good", flush=True)
asyncio.run(main())
"""


@pytest.mark.clients
@pytest.mark.parametrize(
    ("module", "program", "fake", "texts"),
    [
        ("discord", DISCORD_PY, DiscordFake, ["three"]),
        ("aiogram", AIOGRAM, TelegramFake, [""]),
        ("nio", MATRIX_NIO, MatrixFake, ["two", ""]),
        ("linebot", LINE_BOT_SDK, LineFake, ["one", "two"]),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
async def test_a_client_has_no_complaint(
    module: str, program: str, fake: type[FakePlatform], texts: list[str], tmp_path: Path
) -> None:
    find = f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"
    if await asyncio.to_thread(subprocess.call, [CLIENTS_PYTHON, "-c", find]):
        pytest.skip(f"{module} is not installed for {CLIENTS_PYTHON}")
    async with serving(fake()) as platform:
        process = await asyncio.create_subprocess_exec(
            *(CLIENTS_PYTHON, "-c", program),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "URL": platform.url},
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            word, *address = (await process.stdout.readline()).decode().split() or [""]
            if word == "ready":
                if isinstance(platform, LineFake):
                    (platform.door,) = address
                await platform.receive("hello")
            out, err = await process.communicate()
        assert (process.returncode, out.decode().strip()) == (0, "good"), err.decode()
        assert [seen.text for seen in platform.messages] == texts
