"""Sending messages through bots, and what became of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import cast
from uuid import uuid4

from sqlalchemy import Connection

from app.auth.models import Principal
from app.bots.adapters.base import Adapter, Capabilities, Fragment, HasUsers, Target
from app.bots.adapters.outcomes import DeliveryError, Refused, Unknown
from app.bots.outbox import store
from app.bots.outbox.models import Delivery, DeliveryState, FragmentState
from app.bots.outbox.planning import new_delivery, new_fragments, outgoing_part, plan_beside
from app.bots.outbox.turns import finish, next_fragment
from app.bots.outbox.worker import Outbox
from app.bots.quotations import find_platform_id
from app.bots.service import BotService
from app.bots.umo import MessageType, Umo
from app.chat.parts import ClientPart, Media, MediaKind, Reply, Text, attachment_ids, check_attachments, to_stored
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import MAX_INTEGER
from app.errors import AppError, BadRequest, Conflict, Forbidden, NotFound, PayloadTooLarge
from app.files.models import Attachment
from app.files.service import FileService
from app.idempotency import AlreadyClaimed, Claim, Idempotency, record

WAIT_SECONDS = 10.0
"""How long a request waits for its delivery."""
QUEUE_TIME = timedelta(hours=1)
"""How long a queued delivery is tried."""
GRACE_SECONDS = 1.0
POLL_SECONDS = 0.5


class MessageService:
    """Puts messages into the outbox, and waits for their end if asked to."""

    def __init__(
        self,
        database: Database,
        bots: BotService,
        outbox: Outbox,
        files: FileService,
        idempotency: Idempotency,
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._database = database
        self._bots = bots
        self._outbox = outbox
        self._files = files
        self._idempotency = idempotency
        self.wait_seconds = wait_seconds

    async def send(
        self,
        umo: Umo,
        parts: Sequence[ClientPart],
        principal: Principal,
        claim: Claim | None = None,
        *,
        waits: bool = True,
        callback: bytes | None = None,
    ) -> Delivery:
        """Send a message to a bot's platform: wait until it is over, or leave it in the queue.

        A repeat of a claim goes on with the delivery of the first request, unless that is sent.

        Raises NotFound when no such bot runs, BadRequest for parts that the platform or the caller does not have,
        Forbidden for sessions of others, Unprocessable for a claim that was made with another message.
        """
        if claim is not None and (first := await self._find_first(claim)) is not None:
            return await self._resume(first, waits=waits)
        target = Target(umo.message_type, umo.session_id, principal.username, principal.key_id)
        async with self._use_as(principal, umo.platform_id) as adapter:
            attachments: Mapping[str, Attachment] = {}
            if ids := attachment_ids(parts):
                username = await adapter.user_of(target) if isinstance(adapter, HasUsers) else None
                attachments = await self._files.find_usable(ids, principal, username)
            check_fits(parts, attachments, adapter.capabilities, umo.platform_id)
            check_attachments(parts, attachments)
            if not isinstance(adapter, HasUsers):
                parts = await self._with_platform_ids(umo, parts)
            outgoing = [outgoing_part(part, attachments) for part in parts]
            fragments = await plan_beside(adapter, target, outgoing)
        message_key = str(uuid4()) if claim is None else claim.digest
        return await self._add(umo, target, parts, fragments, "api", message_key, claim, waits=waits, callback=callback)

    async def send_for_user(
        self, umo: Umo, text: str, attachment_ids: Sequence[str], key: Principal, username: str, message_key: str
    ) -> Delivery:
        """Send a message that a model wrote for a user, to a target that the operator admits, and wait for its end.

        Its files must be the user's, or uploads of the key without a user. Raises what `send` does.
        """
        attachments = await self._files.find_usable(attachment_ids, key, username)
        parts: list[ClientPart] = [Text(text)] if text else []
        for id in attachment_ids:
            kind: MediaKind = attachments[id].type.value if id in attachments else "file"
            parts.append(Media(kind, id))
        target = Target(umo.message_type, umo.session_id, None, key.key_id)
        async with self._bots.use(umo.platform_id) as bot:
            check_fits(parts, attachments, bot.adapter.capabilities, umo.platform_id)
            check_attachments(parts, attachments)
            outgoing = [outgoing_part(part, attachments) for part in parts]
            fragments = await plan_beside(bot.adapter, target, outgoing)
        return await self._add(umo, target, parts, fragments, "tool", message_key, None, waits=True, callback=None)

    async def post(self, bot_id: str, target: str, text: str, message_key: str) -> None:
        """Queue a message of the bot's own, such as the answer to a command; one for a message key.

        Raises NotFound when no such bot runs.
        """
        message_type, _, session_id = target.partition(":")
        umo = Umo(bot_id, cast(MessageType, message_type), session_id)
        parts = [Text(text)]
        async with self._bots.use(bot_id) as bot:
            place = Target(umo.message_type, session_id)
            fragments = await plan_beside(bot.adapter, place, parts)
        await self._add(umo, place, parts, fragments, "bot", message_key, None, waits=False, callback=None)

    async def get(self, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        delivery = await self._database.read(lambda connection: store.find_delivery(connection, delivery_id))
        if delivery is None:
            raise NotFound("Delivery not found", code="delivery_not_found")
        return delivery

    async def list_deliveries(
        self, *, bot_id: str | None, umo: Umo | None, state: DeliveryState | None, before: int | None, limit: int
    ) -> list[Delivery]:
        """List deliveries, the newest first."""
        target = None if umo is None else f"{umo.message_type}:{umo.session_id}"
        return await self._database.read(
            partial(
                store.list_deliveries,
                bot_id=bot_id if umo is None else umo.platform_id,
                target=target,
                state=state,
                before=before,
                limit=limit,
            )
        )

    async def retry(self, delivery_id: str) -> Delivery:
        """Try what has not been sent of a delivery again, with the same wire keys. Raises NotFound, Conflict."""

        def retry(connection: Connection) -> Delivery:
            delivery = _get(connection, delivery_id)
            if delivery.is_open or delivery.state is DeliveryState.SENT:
                raise Conflict(f"The delivery is {delivery.state.value}", code="delivery_not_over")
            store.lift_pause(connection, (delivery.bot_id, delivery.target))
            _reopen(connection, delivery, utc_now() + QUEUE_TIME, waits=False, doubts=False)
            return _get(connection, delivery_id)

        delivery = await self._database.write(retry)
        self._outbox.wake((delivery.bot_id, delivery.target))
        return delivery

    async def cancel(self, delivery_id: str) -> Delivery:
        """Cancel a delivery of which nothing has been sent. Raises NotFound, Conflict."""

        def cancel(connection: Connection) -> Delivery:
            delivery = _get(connection, delivery_id)
            if not _cancel(connection, delivery, utc_now(), "The delivery was cancelled"):
                raise Conflict(f"The delivery is {delivery.state.value}", code="delivery_not_queued")
            return _get(connection, delivery_id)

        delivery = await self._database.write(cancel)
        self._outbox.announce(delivery)
        self._outbox.wake((delivery.bot_id, delivery.target))
        return delivery

    @asynccontextmanager
    async def _use_as(self, principal: Principal, bot_id: str) -> AsyncIterator[Adapter]:
        """The adapter of a bot that the caller may write to. Raises NotFound, Forbidden."""
        refusal = Forbidden(
            "The API key is bound to a username and may write to its webchat sessions only",
            code="username_not_allowed",
        )
        async with AsyncExitStack() as stack:
            try:
                bot = await stack.enter_async_context(self._bots.use(bot_id))
            except NotFound:
                if principal.username is not None:  # which bots there are is not for those who cannot use them
                    raise refusal from None
                raise
            if principal.username is not None and not isinstance(bot.adapter, HasUsers):
                raise refusal
            yield bot.adapter

    async def _with_platform_ids(self, umo: Umo, parts: Sequence[ClientPart]) -> list[ClientPart]:
        """Name quoted messages as the platform does, where they are given by our numbers."""
        lane = (umo.platform_id, f"{umo.message_type}:{umo.session_id}")
        named: list[ClientPart] = []
        for part in parts:
            if isinstance(part, Reply) and isinstance(number := part.message_id, int) and abs(number) <= MAX_INTEGER:
                find = partial(find_platform_id, lane=lane, number=number)
                platform_id = await self._database.read(find)
                part = part if platform_id is None else Reply(platform_id, part.selected_text)  # noqa: PLW2901
            named.append(part)
        return named

    async def _find_first(self, claim: Claim) -> Delivery | None:
        """Find the delivery of an earlier request with this claim. Raises Unprocessable."""
        result = await self._idempotency.find(claim)
        if result is None or "delivery_id" not in result:
            return None
        return await self._database.read(lambda connection: store.find_delivery(connection, result["delivery_id"]))

    async def _resume(self, delivery: Delivery, *, waits: bool) -> Delivery:
        """Go on with a delivery that was not sent. What may have arrived is repeated only where that does no harm."""
        if delivery.state is DeliveryState.SENT:
            return delivery
        if not delivery.is_open:
            deadline = utc_now() + (timedelta(seconds=self.wait_seconds) if waits else QUEUE_TIME)

            def reopen(connection: Connection) -> None:
                current = _get(connection, delivery.id)
                if not current.is_open and current.state is not DeliveryState.SENT:
                    _reopen(connection, current, deadline, waits=waits, doubts=True)

            await self._database.write(reopen)
        return await self._wait(delivery) if waits else await self.get(delivery.id)

    async def _add(
        self,
        umo: Umo,
        target: Target,
        parts: Sequence[ClientPart],
        fragments: Sequence[Fragment],
        origin: str,
        message_key: str,
        claim: Claim | None,
        *,
        waits: bool,
        callback: bytes | None,
    ) -> Delivery:
        now = utc_now()
        delivery_id = str(uuid4())
        deadline = now + (timedelta(seconds=self.wait_seconds) if waits else QUEUE_TIME)

        def add(connection: Connection) -> Delivery:
            key = message_key
            if claim is not None:
                record(connection, claim, {"delivery_id": delivery_id})
            if (first := store.find_by_key(connection, umo.platform_id, key)) is not None:
                if claim is None:
                    return first
                key = delivery_id  # the first request with this Idempotency-Key was more than a day ago
            values = new_delivery(
                delivery_id,
                umo,
                target,
                to_stored(parts),
                origin,
                key,
                now=now,
                deadline=deadline,
                waits=waits,
                callback=callback,
            )
            store.add_delivery(connection, values, new_fragments(key, fragments))
            return _get(connection, delivery_id)

        try:
            delivery = await self._database.write(add)
        except AlreadyClaimed:
            assert claim is not None
            first = await self._find_first(claim)
            if first is None:
                raise
            return await self._resume(first, waits=waits)
        if delivery.id != delivery_id:
            return await self._resume(delivery, waits=waits)
        if not waits:
            self._outbox.wake((delivery.bot_id, delivery.target))
            return delivery
        return await self._wait(delivery)

    async def _wait(self, delivery: Delivery) -> Delivery:
        """Wait until the delivery is over, and cancel it after its time. Raises what the platform's adapter refused."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.wait_seconds + GRACE_SECONDS
        with self._outbox.watch(delivery.id) as event:
            self._outbox.wake((delivery.bot_id, delivery.target))
            while (left := end - loop.time()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, POLL_SECONDS)):
                        await event.wait()
                event.clear()
                current = await self._database.read(lambda connection: store.find_delivery(connection, delivery.id))
                if current is None:
                    return delivery
                if not current.is_open:
                    return await self._judged(current)
        current = await self._database.write(lambda connection: _give_up(connection, delivery.id, utc_now()))
        self._outbox.announce(current)
        return await self._judged(current)

    async def _judged(self, delivery: Delivery) -> Delivery:
        """Raise the error of a request that was wrong in itself, and leave nothing of it behind."""
        if delivery.error_status is None or delivery.state is not DeliveryState.DEAD:
            return delivery
        await self._database.write(lambda connection: store.delete_delivery(connection, delivery.seq))
        raise AppError(delivery.error or "", status=delivery.error_status, code=delivery.error_code)


def error_of(delivery: Delivery) -> DeliveryError:
    """The error of a delivery that is over and not sent, for a request that waited for it."""
    message = delivery.error or "The platform did not take the message"
    is_refused = delivery.state in (DeliveryState.DEAD, DeliveryState.PARTIAL)
    error: DeliveryError = Refused(message) if is_refused else Unknown(message)
    error.data = {"delivery_id": delivery.id, "state": delivery.state.value}
    return error


def check_fits(
    parts: Sequence[ClientPart], attachments: Mapping[str, Attachment], capabilities: Capabilities, platform_id: str
) -> None:
    """Raises BadRequest for a message that the platform cannot show, PayloadTooLarge for a file that is too large."""
    limit = capabilities.max_upload_bytes
    for part in parts:
        kind = "plain" if isinstance(part, Text) else part.kind if isinstance(part, Media) else None
        if (kind is None and not capabilities.replies) or (kind is not None and kind not in capabilities.parts):
            raise BadRequest(f"{platform_id} does not take {kind or 'reply'} parts", code="part_not_supported")
        if limit is None or not isinstance(part, Media) or part.attachment_id not in attachments:
            continue
        if attachments[part.attachment_id].size > limit:
            raise PayloadTooLarge(f"{platform_id} takes files of at most {limit} bytes", code="file_too_large")


def _get(connection: Connection, delivery_id: str) -> Delivery:
    delivery = store.find_delivery(connection, delivery_id)
    if delivery is None:
        raise NotFound("Delivery not found", code="delivery_not_found")
    return delivery


def _reopen(connection: Connection, delivery: Delivery, deadline: datetime, *, waits: bool, doubts: bool) -> None:
    """Queue a delivery again. With `doubts`, fragments that may have arrived stay unknown."""
    for fragment in delivery.fragments:
        is_kept = fragment.state is FragmentState.SENT or (doubts and fragment.state is FragmentState.UNKNOWN)
        if not is_kept:
            store.end_fragment(connection, fragment, state=FragmentState.PENDING.value, attempts=0, error=None)
        elif fragment.state is FragmentState.UNKNOWN:
            store.end_fragment(connection, fragment, attempts=1)
    store.save_delivery(
        connection,
        delivery.seq,
        state=DeliveryState.QUEUED.value,
        waits=waits,
        not_before=utc_now(),
        deadline=deadline,
        error_code=None,
        error_status=None,
        error=None,
        finished_at=None,
        callback_at=None,
        callback_tries=0,
    )


def _cancel(connection: Connection, delivery: Delivery, now: datetime, reason: str) -> bool:
    """Cancel a queued delivery of which nothing may have been sent; False for another one."""
    is_untouched = all(each.state in (FragmentState.PENDING, FragmentState.REFUSED) for each in delivery.fragments)
    if delivery.state is not DeliveryState.QUEUED or not is_untouched:
        return False
    finish(connection, delivery, DeliveryState.CANCELLED, now, code="delivery_cancelled", error=reason)
    return True


def _give_up(connection: Connection, delivery_id: str, now: datetime) -> Delivery:
    """End a delivery whose time is over: cancelled if nothing of it was sent, else as far as it is known."""
    delivery = _get(connection, delivery_id)
    reason = delivery.error or "The platform did not take the message in time"
    if delivery.state is DeliveryState.QUEUED and not _cancel(connection, delivery, now, reason):
        fragment = next_fragment(delivery)
        is_unknown = fragment is not None and fragment.state is FragmentState.UNKNOWN
        state = DeliveryState.UNKNOWN if is_unknown else DeliveryState.PARTIAL
        finish(connection, delivery, state, now, code="delivery_timeout", error=reason)
    return _get(connection, delivery_id)
