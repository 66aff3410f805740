"""Messages to an address of the operator's, signed by the Standard Webhooks scheme."""

import asyncio
import base64
import binascii
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import stamina
import structlog
from aiohttp.abc import AbstractResolver
from standardwebhooks.webhooks import Webhook
from yarl import URL

from app import __version__
from app.bots.adapters.base import (
    AdapterFactory,
    Attached,
    Capabilities,
    DeliveryError,
    DeliveryTimeoutError,
    OutgoingPart,
    Sent,
    Target,
)
from app.bots.umo import Umo
from app.chat.parts import Reply, Text
from app.clock import iso, utc_now
from app.egress import AddressRefusedError, connector, parse_url
from app.errors import BadRequest
from app.retry_after import parse_retry_after

ADAPTER = "webhook"
SECRET_PREFIX = "whsec_"  # noqa: S105
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64  # what the scheme allows
MAX_ANSWER_BYTES = 64 * 1024
MAX_MESSAGE_ID_CHARS = 255

log = structlog.get_logger(__name__)


class WebhookConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` takes the messages; `secret` (`whsec_` and base64 of 24 to 64 bytes) signs them."""

    url: str
    secret: str

    def __repr__(self) -> str:
        return f"WebhookConfig(url={self.url!r})"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of tries for one message, and their times in seconds.

    `total` bounds all tries and the waits between them. A receiver's `Retry-After` is observed if there is time for it.
    """

    tries: int = 3
    total: float = 10.0
    per_try: float = 5.0
    wait_initial: float = 0.4
    wait_jitter: float = 0.4


def webhook_factory(
    *,
    allow_private: bool,
    policy: RetryPolicy | None = None,
    resolver: AbstractResolver | None = None,
    count: Callable[[str], None] = lambda _outcome: None,
) -> AdapterFactory[WebhookConfig]:
    """Describe the kind `webhook`; with `allow_private` its bots may call loopback and private addresses.

    `count` is told how each delivery ended: `delivered` or `failed`.
    """

    def build(platform_id: str, config: WebhookConfig) -> WebhookAdapter:
        return WebhookAdapter(
            platform_id,
            config,
            allow_private=allow_private,
            policy=policy or RetryPolicy(),
            resolver=resolver,
            count=count,
        )

    return AdapterFactory(
        name=ADAPTER,
        config_type=WebhookConfig,
        build=build,
        secret_fields=frozenset({"secret"}),
        generate=lambda: {"secret": new_secret()},
    )


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


class WebhookAdapter:
    """Posts each message to the bot's URL, and again until the receiver answers 2xx or refuses it."""

    def __init__(
        self,
        platform_id: str,
        config: WebhookConfig,
        *,
        allow_private: bool,
        policy: RetryPolicy,
        resolver: AbstractResolver | None = None,
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._platform_id = platform_id
        self._url = _check_url(config.url, allow_private=allow_private)
        self._webhook = Webhook(_secret_bytes(config.secret))
        self._allow_private = allow_private
        self._policy = policy
        self._resolver = resolver
        self._count = count
        self._session: aiohttp.ClientSession | None = None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    async def send(self, target: Target, parts: Sequence[OutgoingPart], message_key: str) -> Sent:
        try:
            sent = await self._deliver(target, parts, message_key)
        except DeliveryError:
            self._count("failed")
            raise
        self._count("delivered")
        return sent

    async def _deliver(self, target: Target, parts: Sequence[OutgoingPart], message_key: str) -> Sent:
        # One id and one body for all tries: the receiver tells a repetition by the id.
        webhook_id = f"msg_{message_key}"
        body = msgspec.json.encode(_payload(self._platform_id, target, parts))
        policy = self._policy
        clock = asyncio.get_running_loop().time
        deadline = clock() + policy.total

        def wait_before_next(error: Exception) -> bool | float:
            remaining = deadline - clock()
            if not isinstance(error, DeliveryError) or not error.retryable or remaining <= policy.wait_initial:
                return False
            return True if error.retry_after is None else error.retry_after < remaining and error.retry_after

        async for attempt in stamina.retry_context(
            on=wait_before_next,
            attempts=policy.tries,
            timeout=None,
            wait_initial=policy.wait_initial,
            wait_jitter=policy.wait_jitter,
        ):
            with attempt:
                seconds = min(policy.per_try, max(deadline - clock(), 0.1))
                return await self._post(webhook_id, body, attempt.num, seconds)
        raise AssertionError("a retry either returns or raises")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, webhook_id: str, body: bytes, attempt: int, seconds: float) -> Sent:
        try:
            async with self._client().post(
                self._url,
                data=body,
                headers=self._headers(webhook_id, body),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                _check_status(response)
                return Sent(await _message_id(response))
        except TimeoutError as error:
            failure: DeliveryError = DeliveryTimeoutError("The webhook receiver did not answer in time", retryable=True)
            cause: Exception = error
        except (aiohttp.ClientError, OSError) as error:
            failure, cause = _connection_failure(error), error
        except DeliveryError as error:
            failure = cause = error
        log.warning(
            "webhook_attempt_failed",
            bot_id=self._platform_id,
            webhook_id=webhook_id,
            attempt=attempt,
            error=repr(cause),
        )
        raise failure from (None if cause is failure else cause)

    def _headers(self, webhook_id: str, body: bytes) -> dict[str, str]:
        now = utc_now()
        return {
            "Content-Type": "application/json",
            "User-Agent": f"Palaver/{__version__}",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(webhook_id, now, body.decode()),
        }

    def _client(self) -> aiohttp.ClientSession:
        # Made on first use, as it belongs to the running event loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=connector(allow_private=self._allow_private, resolver=self._resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy would make the connection whose address is checked here
            )
        return self._session


def _payload(platform_id: str, target: Target, parts: Sequence[OutgoingPart]) -> dict[str, Any]:
    return {
        "type": "message.send",
        "timestamp": iso(utc_now()),
        "data": {
            "umo": str(Umo(platform_id, target.message_type, target.session_id)),
            "platform_id": platform_id,
            "message_type": target.message_type,
            "session_id": target.session_id,
            "parts": [_part(part) for part in parts],
        },
    }


def _part(part: OutgoingPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "plain", "text": part.text}
    if isinstance(part, Reply):
        return {"type": "reply", "message_id": part.message_id, "selected_text": part.selected_text}
    return _media(part)


def _media(part: Attached) -> dict[str, Any]:
    return {
        "type": part.media.kind,
        "attachment_id": part.attachment.id,
        "filename": part.media.filename or part.attachment.filename,
        "media_type": part.attachment.media_type,
        "size": part.attachment.size,
        "sha256": part.attachment.sha256,
    }


def _check_url(text: str, *, allow_private: bool) -> URL:
    """Raises BadRequest."""
    try:
        return parse_url(text, allow_private=allow_private)
    except ValueError as error:
        raise _invalid(f"url {error}") from None


def _secret_bytes(secret: str) -> bytes:
    """Decode the signing key of a `whsec_` secret. Raises BadRequest, without the secret in it."""
    problem = f"secret must be {SECRET_PREFIX} and base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
    if not secret.startswith(SECRET_PREFIX):
        raise _invalid(problem)
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(problem) from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise _invalid(problem)
    return key


def _invalid(problem: str) -> BadRequest:
    return BadRequest(f"config: {problem}", code="invalid_config")


def _check_status(response: aiohttp.ClientResponse) -> None:
    """Raises DeliveryError unless the status is 2xx."""
    status = response.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise DeliveryError(f"The webhook receiver answered {status}, and redirects are not followed")
    raise DeliveryError(
        f"The webhook receiver answered {status}",
        retryable=status == 429 or status >= 500,
        retry_after=parse_retry_after(response.headers.get("Retry-After")),
    )


def _connection_failure(error: Exception) -> DeliveryError:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefusedError):
        return DeliveryError("The webhook's address is private, and private addresses are not allowed")
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.InvalidURL)):
        return DeliveryError("The webhook receiver could not be reached: its certificate or URL is not valid")
    return DeliveryError("The webhook receiver could not be reached", retryable=True)


async def _message_id(response: aiohttp.ClientResponse) -> str | None:
    """Read the `message_id` in the receiver's JSON, None without one: the message was taken, whatever the body is."""
    body = bytearray()
    try:
        async for chunk in response.content.iter_chunked(MAX_ANSWER_BYTES):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                return None
        answer = msgspec.json.decode(body)
    except (TimeoutError, aiohttp.ClientError, OSError, msgspec.DecodeError, RecursionError):
        return None
    message_id = answer.get("message_id") if isinstance(answer, dict) else None
    if isinstance(message_id, bool) or not isinstance(message_id, (str, int)):
        return None
    return str(message_id)[:MAX_MESSAGE_ID_CHARS] or None
