"""Requests to addresses of the operator's and of callers, signed by the Standard Webhooks scheme."""

import base64
import binascii
import secrets

from standardwebhooks.webhooks import Webhook
from yarl import URL

from app.bots.adapters.http import PlatformAnswer, PlatformClient
from app.bots.adapters.outcomes import NotSent, RateLimited, Refused
from app.clock import utc_now

SECRET_PREFIX = "whsec_"  # noqa: S105
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64  # what the scheme allows
MAX_ANSWER_BYTES = 64 * 1024
CALL_SECONDS = 5.0


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def parse_secret(secret: str) -> Webhook:
    """Make the signer of a `whsec_` secret. Raises ValueError; the text goes on after the field's name."""
    problem = f"must be {SECRET_PREFIX} and base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(problem)
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(problem) from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(problem)
    return Webhook(key)


async def post_signed(
    client: PlatformClient, url: URL, signer: Webhook, webhook_id: str, body: bytes, receiver: str
) -> PlatformAnswer:
    """Post a JSON body; returns when the receiver has answered 2xx.

    `webhook_id` is the same for all tries, and `receiver` its name in errors. Raises DeliveryError.
    """
    now = utc_now()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(webhook_id, now, body.decode()),
    }
    answer = await client.request(
        "POST",
        url,
        data=body,
        headers=headers,
        seconds=CALL_SECONDS,
        max_bytes=MAX_ANSWER_BYTES,
        status_suffices=True,
    )
    _check_status(answer, receiver)
    return answer


def _check_status(answer: PlatformAnswer, receiver: str) -> None:
    """Raises DeliveryError unless the status is 2xx."""
    status = answer.status
    message, code = f"{receiver} answered {status}", str(status)
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise Refused(f"{message}, and redirects are not followed", platform_code=code)
    if status != 429 and status < 500:
        raise Refused(message, platform_code=code)
    if answer.retry_after is not None:
        raise RateLimited(message, after=answer.retry_after, platform_code=code)
    raise NotSent(message, platform_code=code)
