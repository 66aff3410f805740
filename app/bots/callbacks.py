"""Callbacks: a request to an address of the sender's when a delivery is over, signed as webhooks are."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

import msgspec
import structlog
from yarl import URL

from app.background import Background
from app.bots.adapters.http import Network
from app.bots.adapters.outcomes import RateLimited, Refused
from app.bots.adapters.signing import new_secret, parse_secret, post_signed
from app.bots.message_schemas import item_of
from app.bots.outbox import store
from app.bots.outbox.models import Delivery
from app.bots.outbox.policy import RetryPolicy
from app.clock import iso
from app.crypto import SecretBox
from app.database.engine import Database
from app.egress import parse_url
from app.errors import AppError, BadRequest

POLL_SECONDS = 5.0
RETRY_SECONDS = 1.0
MAX_CALLS = 64
RECEIVER = "The callback's receiver"

log = structlog.get_logger(__name__)


class _Callback(msgspec.Struct, frozen=True):
    url: str
    secret: str


class Callbacks:
    """Tells senders of the ends of their deliveries. A receiver tells repeats by their `webhook-id`."""

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        network: Network,
        *,
        policy: RetryPolicy | None = None,
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._allow_private = network.allow_private
        self._client = network.client(RECEIVER)
        self._policy = policy or RetryPolicy()
        self._count = count
        self._tasks: set[asyncio.Task[None]] = set()
        self._background = Background(self._send_due, "callbacks_postponed", POLL_SECONDS, RETRY_SECONDS)

    def seal(self, url: object, secret: object) -> bytes | None:
        """Check what a request says of its callback, and encrypt it; a secret is made if none is given.

        Returns None without a URL. Raises BadRequest.
        """
        if url is None:
            if secret is not None:
                raise _invalid("callback_secret needs a callback")
            return None
        if not isinstance(url, str):
            raise _invalid("callback must be a URL")
        if not isinstance(secret, str | None):
            raise _invalid("callback_secret must be a string")
        secret = new_secret() if secret is None else secret
        try:
            parse_url(url, allow_private=self._allow_private)
        except ValueError as error:
            raise _invalid(f"callback {error}") from None
        try:
            parse_secret(secret)
        except ValueError as error:
            raise _invalid(f"callback_secret {error}") from None
        return self._secrets.encrypt(msgspec.json.encode(_Callback(url, secret)))

    def secret_of(self, delivery: Delivery) -> str | None:
        """Return the secret that signs a delivery's callback. Raises Unavailable."""
        return None if delivery.callback is None else self._opened(delivery.callback).secret

    def wake(self) -> None:
        """Look for callbacks that are due now."""
        self._background.wake()

    async def run(self) -> None:
        """Send what is due until cancelled, also what other processes have left."""
        await self._background.run()

    async def close(self) -> None:
        """Break off what is under way: it is sent again when its lease is over."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    async def _send_due(self) -> None:
        free = MAX_CALLS - len(self._tasks)
        if free == 0 or not await self._database.read(store.has_due_callbacks):
            return
        for delivery in await self._database.write(lambda connection: store.take_callbacks(connection, free)):
            task = asyncio.create_task(self._send(delivery))
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        if len(self._tasks) == MAX_CALLS:  # others may have waited for a place
            self.wake()
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # another try follows when its lease ends
            log.error("callback_crashed", exc_info=error)

    async def _send(self, delivery: Delivery) -> None:
        try:
            await self._post(delivery)
        except AppError as error:
            wait = self._wait_after(error, delivery.callback_tries)
            event = "callback_given_up" if wait is None else "callback_failed"
            log.warning(event, delivery_id=delivery.id, tries=delivery.callback_tries, error=error.message)
            self._count("failed" if wait is None else "retried")
        else:
            wait = None
            log.info("callback_sent", delivery_id=delivery.id, state=delivery.state.value)
            self._count("sent")
        await self._database.write(lambda connection: store.end_callback(connection, delivery, wait))
        if wait is not None:
            asyncio.get_running_loop().call_later(wait.total_seconds(), self.wake)

    def _wait_after(self, error: AppError, tries: int) -> timedelta | None:
        """Return how long to wait after a try that failed; None when there is no other."""
        if isinstance(error, Refused) or tries >= self._policy.tries:
            return None
        if isinstance(error, RateLimited):
            return timedelta(seconds=error.after)
        return self._policy.wait(tries)

    async def _post(self, delivery: Delivery) -> None:
        """Make one request. Raises DeliveryError, Unavailable."""
        assert delivery.callback is not None
        assert delivery.finished_at is not None
        callback = self._opened(delivery.callback)
        ended = iso(delivery.finished_at)
        # A delivery that was retried ends once more, which is another message.
        webhook_id = f"msg_{sha256(f'{delivery.id} {ended}'.encode()).hexdigest()[:32]}"
        payload = {"type": f"delivery.{delivery.state.value}", "timestamp": ended, "data": item_of(delivery)}
        body = msgspec.json.encode(payload)
        await post_signed(self._client, URL(callback.url), parse_secret(callback.secret), webhook_id, body, RECEIVER)

    def _opened(self, sealed: bytes) -> _Callback:
        return msgspec.json.decode(self._secrets.decrypt(sealed), type=_Callback)


def _invalid(problem: str) -> BadRequest:
    return BadRequest(problem, code="invalid_callback")
