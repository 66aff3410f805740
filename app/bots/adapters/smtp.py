"""E-mail, out only: over SMTP with aiosmtplib, the extra `palaver[email]`."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from app.bots.adapters.base import (
    AdapterFactory,
    Attached,
    BotIdentity,
    Call,
    Capabilities,
    Fragment,
    OutgoingPart,
    Receipt,
    Target,
)
from app.bots.adapters.config import invalid_config
from app.bots.adapters.http import Network
from app.bots.adapters.outcomes import DeliveryError, NotSent, RateLimited, Refused, TargetGone, Unauthorized, Unknown
from app.bots.formatting.dialects import to_html, to_plain
from app.bots.umo import invalid_umo
from app.chat.parts import Reply, Text
from app.clock import utc_now
from app.egress import AddressRefusedError, is_literal, is_public, open_socket

if TYPE_CHECKING:
    from aiosmtplib import SMTP

ADAPTER = "email"
PLATFORM = "The mail server"
MAX_UPLOAD_BYTES = 18 * 1024**2
MAX_SUBJECT_CHARS = 78
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0
CALL_SECONDS = 60.0
GREYLIST_SECONDS = 60.0
"""How long a mailbox rests whose server asks to come back later."""
PORTS = {"starttls": 587, "tls": 465, "none": 25}

_ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_SESSION = re.compile(rf"(?P<address>{_ADDRESS})(?:#(?P<message_id>[\x21-\x3b\x3d\x3f-\x7e]{{1,250}}))?")
_MESSAGE_ID = re.compile(r"<?([\x21-\x3b\x3d\x3f-\x7e]{1,250}@[\x21-\x3b\x3d\x3f-\x7e]{1,250}?)>?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?")
_GREYLISTED = (421, 450, 451, 452)
Stage = Literal["connection", "login", "sender", "receiver", "data"]
_PROBLEMS: Mapping[Stage, str] = {
    "connection": f"{PLATFORM} could not be reached",
    "login": f"{PLATFORM} does not accept the username and password",
    "sender": f"{PLATFORM} does not take mail of the sender",
    "receiver": f"{PLATFORM} does not take mail to the receiver",
    "data": f"{PLATFORM} refused the message",
}
_GONE = re.compile(r"5\.1\.|5\.2\.1")


class EmailConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mail server, and who writes. `subject` is that of all messages (empty: the first line of each)."""

    smtp_host: Annotated[str, Meta(max_length=253)]
    smtp_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: Annotated[str, Meta(max_length=255)] = ""
    smtp_password: Annotated[str, Meta(max_length=1024)] = ""
    from_address: Annotated[str, Meta(max_length=254)]
    from_name: Annotated[str, Meta(max_length=100)] = ""
    subject: Annotated[str, Meta(max_length=200)] = ""
    at_least_once: bool = False

    def __repr__(self) -> str:
        return f"EmailConfig(smtp_host={self.smtp_host!r}, from_address={self.from_address!r})"


def email_factory(network: Network) -> AdapterFactory[EmailConfig]:
    """Describe the kind `email`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=EmailConfig,
        build=lambda _bot_id, config: EmailAdapter(config, network),
        secret_fields=frozenset({"smtp_password"}),
    )


class EmailAdapter:
    """One sender at one mail server. Each message has a connection of its own."""

    capabilities = Capabilities(max_upload_bytes=MAX_UPLOAD_BYTES, call_seconds=CALL_SECONDS)

    def __init__(self, config: EmailConfig, network: Network) -> None:
        if find_spec("aiosmtplib") is None:
            raise invalid_config("e-mail needs aiosmtplib: install palaver[email]")
        host, self._allow_private = config.smtp_host, network.allow_private
        if not _HOST.fullmatch(host) or (not self._allow_private and is_literal(host) and not is_public(host)):
            raise invalid_config("smtp_host must be the name of a host on the public internet")
        if not re.fullmatch(_ADDRESS, config.from_address):
            raise invalid_config("from_address must be an e-mail address")
        if config.smtp_password and config.smtp_security == "none" and not self._allow_private:
            raise invalid_config("smtp_password is not sent without encryption: set smtp_security")
        for field in ("from_name", "subject", "smtp_username", "smtp_password"):
            if not getattr(config, field).isprintable():
                raise invalid_config(f"{field} must be one line")
        self._config = config
        self._domain = config.from_address.rpartition("@")[2]
        self._sender = Address(config.from_name, addr_spec=config.from_address)

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        """Make one e-mail of the texts and the first file, and one of each other file."""
        _receiver(target)
        text = "\n\n".join(part.text for part in parts if isinstance(part, Text))
        quoted = next(({"reply_to": str(part.message_id)} for part in parts if isinstance(part, Reply)), {})
        title = self._config.subject or _title(text)
        files = [part for part in parts if isinstance(part, Attached)]
        first = {"text": text, "subject": title or (files[0].filename if files else ""), **quoted}
        if not files:
            return [Fragment(first)]
        payloads = [first, *({"text": "", "subject": title or file.filename, **quoted} for file in files[1:])]
        return [
            Fragment({**payload, "filename": file.filename}, None, file.attachment.id)
            for payload, file in zip(payloads, files, strict=True)
        ]

    async def deliver(self, call: Call) -> Receipt:
        message_id = f"<{call.wire_key}@{self._domain}>"
        address, thread = _receiver(call.target)
        message = self._message(call, message_id, address, thread)
        if call.file is not None:
            main, _, sub = call.file.attachment.media_type.partition("/")
            content = await call.file.read()
            message.add_attachment(content, maintype=main, subtype=sub, filename=call.fragment.payload["filename"])
        octets = message.as_bytes()
        async with self._connected() as client:
            with _failing("sender"):
                await client.mail(self._config.from_address)
            with _failing("receiver"):
                await client.rcpt(address)
            with _failing("data"):
                await client.data(octets)
        return Receipt(message_id)

    async def check(self) -> BotIdentity:
        async with self._connected():
            return BotIdentity(self._config.from_address, self._config.from_name or self._config.from_address)

    async def close(self) -> None:
        pass

    def _message(self, call: Call, message_id: str, address: str, thread: str | None) -> EmailMessage:
        payload = call.fragment.payload
        message = EmailMessage(SMTP_POLICY)
        message["From"], message["To"] = self._sender, Address(addr_spec=address)
        message["Subject"], message["Date"] = payload["subject"], format_datetime(utc_now())
        message["Message-ID"] = message_id
        message["Auto-Submitted"] = "auto-generated"  # so that nobody's absence answers it
        quoted = _MESSAGE_ID.fullmatch(str(payload.get("reply_to", "")))
        earlier = [f"<{id}>" for id in (thread, quoted[1] if quoted else None) if id]
        if earlier:
            message["In-Reply-To"], message["References"] = earlier[-1], " ".join(dict.fromkeys(earlier))
        message.set_content(to_plain(payload["text"]))
        if payload["text"]:
            message.add_alternative(to_html(payload["text"]), subtype="html")
        return message

    @asynccontextmanager
    async def _connected(self) -> "AsyncIterator[SMTP]":
        """A connection on which messages can be sent. Raises DeliveryError."""
        from aiosmtplib import SMTP

        config = self._config
        port = config.smtp_port or PORTS[config.smtp_security]
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                socket = await open_socket(config.smtp_host, port, allow_private=self._allow_private)
        except AddressRefusedError:
            raise Refused(f"{PLATFORM}'s address is private, and private addresses are not allowed") from None
        except OSError as error:  # a timeout is one
            raise NotSent(f"{PLATFORM} could not be reached") from error
        client = SMTP(
            hostname=config.smtp_host,
            sock=socket,
            use_tls=config.smtp_security == "tls",
            start_tls=config.smtp_security == "starttls",
            local_hostname=self._domain,
            timeout=COMMAND_SECONDS,
        )
        try:
            with _failing("connection"):
                await client.connect()
            if config.smtp_username:
                with _failing("login"):
                    await client.login(config.smtp_username, config.smtp_password)
            yield client
            with suppress(Exception):  # the message is taken, whatever comes now
                async with asyncio.timeout(1):
                    await client.quit()
        finally:
            client.close()
            socket.close()


@contextmanager
def _failing(stage: Stage) -> Iterator[None]:
    """Tell what a failure of aiosmtplib means at a stage. Raises DeliveryError."""
    from aiosmtplib import SMTPException, SMTPResponseException

    try:
        yield
    except SMTPResponseException as error:
        raise _refusal(stage, error.code, str(error.message)) from error
    except (SMTPException, OSError) as error:
        raise _interruption(stage, error) from error


def _refusal(stage: Stage, code: int, text: str) -> DeliveryError:
    """Say what a code of the server means."""
    problem, platform_code = f"{_PROBLEMS[stage]}: {code} {text[:200]}", str(code)
    if code < 500:
        if stage == "receiver" and code in _GREYLISTED:
            return RateLimited(problem, after=GREYLIST_SECONDS, platform_code=platform_code)
        return NotSent(problem, platform_code=platform_code)
    if code in (530, 535) or stage == "login":
        return Unauthorized(problem, platform_code=platform_code)
    if stage == "receiver" and (_GONE.match(text) or (code == 550 and not text.startswith("5."))):
        return TargetGone(problem, platform_code=platform_code)
    return Refused(problem, platform_code=platform_code)


def _interruption(stage: Stage, error: Exception) -> DeliveryError:
    """Say what it means that no code came."""
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in (error, error.__cause__)):
        return Refused(f"{PLATFORM}'s certificate is not valid")
    if stage == "data":
        return Unknown(f"{PLATFORM} cut the connection before it answered")
    if isinstance(error, OSError):  # the connection, or a timeout
        return NotSent(_PROBLEMS[stage])
    # The server lacks what was asked for.
    problem = f"{_PROBLEMS[stage]}: {str(error)[:200]}"
    return Unauthorized(problem) if stage == "login" else Refused(problem)


def _receiver(target: Target) -> tuple[str, str | None]:
    """The address, and the id of the message whose thread it is. Raises BadRequest."""
    match = _SESSION.fullmatch(target.session_id)
    if match is None or len(match["address"]) > 254:
        raise invalid_umo("an e-mail session is an address, or <address>#<message id> for a thread")
    return match["address"], match["message_id"]


def _title(text: str) -> str:
    """The first line of a text, as far as a subject goes."""
    line = next((line for line in to_plain(text).split("\n") if line.strip()), "")
    words = "".join(char if char.isprintable() else " " for char in line)
    return " ".join(words.split())[:MAX_SUBJECT_CHARS]
