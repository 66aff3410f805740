"""The parts that serve bots, in place of an application's own, which would be too patient for tests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.bots.adapters.base import AdapterFactory
from app.bots.adapters.http import Network
from app.bots.adapters.webchat import WebchatAdapter
from app.bots.callbacks import Callbacks
from app.bots.inbox.contexts import ReplyContexts
from app.bots.inbox.listeners import Listeners
from app.bots.inbox.processor import Processor
from app.bots.inbox.service import InboxService
from app.bots.inbox.turns import TurnMaker
from app.bots.outbox.policy import RetryPolicy
from app.bots.outbox.worker import Outbox
from app.bots.replies import Replies
from app.bots.sending import MessageService
from app.bots.service import BotService
from app.chat.service import ChatService
from app.edge.services import provide, service
from app.files.service import FileService
from app.idempotency import Idempotency
from tests.support.client import Client
from tests.support.server import Server

OWNER = "the-tests"


@dataclass(frozen=True, slots=True)
class QuickBots:
    """The parts, at work."""

    service: BotService
    outbox: Outbox
    messages: MessageService
    files: FileService


@asynccontextmanager
async def quick_bots(
    server: Server, factories: Sequence[AdapterFactory[Any]], policy: RetryPolicy, wait_seconds: float = 10.0
) -> AsyncIterator[QuickBots]:
    """Serve bots of these kinds on a running server, and retry quickly, until the block ends."""
    async with Client(server, None) as client:
        await client.get("/health")  # its own parts have gone on with what they found, and take nothing of the tests'
    async with server.app.app_context():
        files, chat = service(FileService), service(ChatService)
        patient_ones = (service(Listeners), service(Processor), service(Outbox))
    for each in patient_ones:
        await each.close()
    database, secrets = server.core.database, server.core.secrets
    bots = BotService(database, secrets, factories=factories, builtin={"webchat": WebchatAdapter(chat)})
    contexts = ReplyContexts(database, secrets)
    callbacks = Callbacks(database, secrets, Network(allow_private=True), policy=policy)
    outbox = Outbox(
        database, bots, files, OWNER, sole_owner=True, policy=policy, contexts=contexts, on_end=callbacks.wake
    )
    messages = MessageService(database, bots, outbox, files, Idempotency(database), wait_seconds=wait_seconds)
    replies = Replies(database, bots, outbox, contexts, first_seconds=0.1)
    turns = TurnMaker(database, files)
    processor = Processor(database, bots, chat, turns, messages, replies, OWNER, sole_owner=True)
    inbox = InboxService(database, secrets, OWNER, processor.wake)
    listeners = Listeners(database, bots, inbox, OWNER, first_backoff_seconds=0.005)
    bots.on_change(listeners.wake)
    for made in (bots, outbox, callbacks, messages, inbox):
        provide(server.app, made)
    await outbox.open()
    working = [asyncio.create_task(listeners.run()), asyncio.create_task(callbacks.run())]
    try:
        yield QuickBots(bots, outbox, messages, files)
    finally:
        for closing in (listeners, processor, replies, outbox, callbacks, bots):
            await closing.close()
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
