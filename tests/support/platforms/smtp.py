"""A mail server, by aiosmtpd."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.platforms.base import HANG_SECONDS, FakePlatform, Fault, Seen

SENDER, USERNAME, PASSWORD = "bot@example.org", "bot", "mail-test-password"


class SmtpFake(FakePlatform):
    """One server: what it has taken lies in mailboxes, and the same message twice is two. No text is too long."""

    adapter = "email"
    session = "alice@example.com"
    group = "team@example.com"
    limit = 10_000
    bad_session = "nobody"
    faults_missing = frozenset({"rate_limited", "bad_format", "server_error_after"})

    def __init__(self, tls: ssl.SSLContext | None = None, *, implicit: bool = False) -> None:
        super().__init__()
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        """Answers to the next receivers."""
        self.connections = 0
        self._tls, self._implicit = tls, implicit
        self._fault: Fault | None = None

    def config(self) -> dict[str, Any]:
        server = {"smtp_host": "127.0.0.1", "smtp_port": self.port, "smtp_security": "none"}
        return {**server, "smtp_username": USERNAME, "smtp_password": PASSWORD, "from_address": SENDER}

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        def connection() -> SMTP:
            self.connections += 1
            return SMTP(
                self,
                hostname="mail.example.org",
                authenticator=self._authenticate,
                auth_require_tls=False,
                tls_context=None if self._implicit else self._tls,
            )

        implicit = self._tls if self._implicit else None
        server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", self.port, ssl=implicit)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    @staticmethod
    def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        is_known = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USERNAME.encode(),
            PASSWORD.encode(),
        )
        return AuthResult(success=is_known, handled=False)

    # What aiosmtpd calls

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self._fault = self.next_fault("mail", address)
        if not session.authenticated or (self._fault is not None and self._fault.kind == "unauthorized"):
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        if self._fault is not None and self._fault.kind == "gone":
            return "550 5.1.1 User unknown"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        kind = None if self._fault is None else self._fault.kind
        if kind == "refused":
            return "554 5.7.1 Message rejected"
        if kind == "server_error":
            return "451 4.3.0 Try again later"
        if kind != "close_before":
            self._take(envelope)
        if kind in ("close_before", "close_after"):
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        if kind == "hang_after":
            await asyncio.sleep(HANG_SECONDS)
        return "250 2.0.0 Ok: queued"

    def _take(self, envelope: Envelope) -> None:
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        assert all(len(line) <= 998 for line in envelope.content.split(b"\r\n"))
        self.mails.append(mail)
        body = mail.get_body(("plain",))
        text = "" if body is None else str(body.get_content()).replace("\r\n", "\n").strip("\n")
        seen = Seen(envelope.rcpt_tos[0], str(mail["Message-ID"]), text, reply_to=mail["In-Reply-To"])
        for attached in mail.iter_attachments():
            seen.kind = {"image": "image", "audio": "record", "video": "video"}.get(
                attached.get_content_maintype(), "file"
            )
            seen.filename, seen.content = attached.get_filename(), bytes(attached.get_payload(decode=True))
        self.messages.append(seen)
