"""E-mail: the shared suite, and what is e-mail's own."""

import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.bots.adapters import smtp
from app.bots.adapters.http import Network
from app.bots.adapters.smtp import EmailConfig, email_factory
from app.errors import BadRequest
from tests.bots.platforms.conftest import BOT, PNG, Stage, stage_of
from tests.bots.platforms.suite import MARKDOWN, SendingSuite
from tests.conftest import StartServer
from tests.support.platforms.base import serving
from tests.support.platforms.smtp import SENDER, SmtpFake


class TestEmail(SendingSuite):
    fake_type = SmtpFake

    async def test_a_long_text_is_split_within_the_limit_and_loses_nothing(self, stage: Stage) -> None:
        """An e-mail has room for everything."""
        words = " ".join(f"wörd{n}😀" for n in range(5000))
        assert (await stage.send(words))[0] == 200
        assert [text.split() for text in stage.fake.texts()] == [words.split()]

    async def test_a_platform_that_is_not_there_is_tried_again(self, stage: Stage) -> None:
        patch = {"config": {"smtp_port": 9}}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", patch))[0] == 200
        status, answer = await stage.send("anybody?")
        assert (status, answer["code"], answer["data"]["state"]) == (502, "delivery_failed", "dead")
        assert "could not be reached" in answer["message"]

    async def test_an_e_mail_has_what_it_needs(self, stage: Stage) -> None:
        _, answer = await stage.send(MARKDOWN)
        (mail,) = _fake(stage).mails
        assert (mail["From"], mail["To"], mail["Subject"]) == (SENDER, stage.fake.session, "Title")
        assert answer["data"]["message_id"] == mail["Message-ID"]
        assert mail["Message-ID"].endswith("@example.org>")
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Date"].datetime is not None
        plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
        assert plain is not None
        assert html is not None
        assert "**" not in plain.get_content()
        assert "<strong>bold</strong>" in html.get_content()

    @pytest.mark.parametrize("settings", [{"from_name": "Bücher Bot", "subject": "News"}])
    async def test_the_senders_name_and_the_subject_are_settings(self, stage: Stage) -> None:
        assert (await stage.send("hello"))[0] == 200
        (mail,) = _fake(stage).mails
        assert (mail["From"], mail["Subject"]) == (f"Bücher Bot <{SENDER}>", "News")

    async def test_the_first_file_goes_with_the_text(self, stage: Stage) -> None:
        ids = [await stage.upload(), await stage.upload("notes.txt", b"some notes")]
        parts = [{"type": "plain", "text": "look"}, *({"type": "file", "attachment_id": id} for id in ids)]
        assert (await stage.send(parts))[0] == 200
        assert [(seen.text, seen.filename, seen.content) for seen in stage.fake.seen()] == [
            ("look", "cat.png", PNG),
            ("", "notes.txt", b"some notes"),
        ]

    async def test_a_thread_is_gone_on_with(self, stage: Stage) -> None:
        _, first = await stage.send("one", f"{stage.fake.session}#question.1@mail.example.com")
        reply = [{"type": "reply", "message_id": first["data"]["message_id"]}, {"type": "plain", "text": "two"}]
        status, answer = await stage.send(reply)
        assert status == 200, answer
        one, two = _fake(stage).mails
        assert (one["In-Reply-To"], one["References"]) == ("<question.1@mail.example.com>",) * 2
        assert two["In-Reply-To"] == one["Message-ID"]

    @pytest.mark.parametrize("session", ["a@b@c", "<alice@example.com>", "alice@example.com\\nBcc: x@y.z", "a@b#c d"])
    async def test_addresses_with_more_in_them_are_refused(self, stage: Stage, session: str) -> None:
        status, answer = await stage.send("x", session.replace("\\n", " "))
        assert (status, answer["code"]) == (400, "invalid_umo")

    async def test_lines_cannot_leave_the_subject(self, stage: Stage) -> None:
        assert (await stage.send("a&#13;&#10;Bcc: x@example.net\u2028b"))[0] == 200
        assert _fake(stage).mails[0]["Bcc"] is None

    async def test_a_server_that_asks_to_come_back_is_obeyed(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(smtp, "GREYLIST_SECONDS", 0.2)
        _fake(stage).answers.append("450 4.2.0 Greylisted")
        assert (await stage.send("patience"))[0] == 200
        assert stage.fake.texts() == ["patience"]

    async def test_a_policy_is_not_a_mailbox_that_is_gone(self, stage: Stage) -> None:
        _fake(stage).answers.append("550 5.7.1 Blocked")
        status, answer = await stage.send("no")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "550 5.7.1 Blocked" in answer["message"]
        assert (await stage.send("yes"))[0] == 200

    async def test_a_password_that_is_wrong_is_said(self, stage: Stage) -> None:
        assert (await stage.call("POST", f"/api/v1/bots/{BOT}/test"))[1]["data"]["id"] == SENDER
        patch = {"config": {"smtp_password": "another"}}
        assert (await stage.call("PATCH", f"/api/v1/bots/{BOT}", patch))[0] == 200
        status, answer = await stage.call("POST", f"/api/v1/bots/{BOT}/test")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "username and password" in answer["message"]
        assert stage.fake.calls == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_connections_are_encrypted_and_certificates_checked(
    security: str, start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path))
    fake = SmtpFake(context, implicit=security == "tls")
    settings = {"smtp_security": security, "smtp_host": "localhost"}
    async with serving(fake), stage_of(start_server, fake, 10.0, settings) as stage:
        status, answer = await stage.send("hello")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "certificate" in answer["message"]
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pair.pem"))
        assert (await stage.send("hello"))[0] == 200
        assert fake.texts() == ["hello"]


async def test_a_server_without_encryption_is_not_trusted(start_server: StartServer) -> None:
    fake = SmtpFake()
    async with serving(fake), stage_of(start_server, fake, 10.0, {"smtp_security": "starttls"}) as stage:
        status, answer = await stage.send("hello")
        assert (status, answer["code"]) == (502, "delivery_failed")
        assert "STARTTLS" in answer["message"]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"smtp_host": "127.0.0.1"}, "public"),
        ({"smtp_host": "a b"}, "smtp_host"),
        ({"from_address": "nobody"}, "from_address"),
        ({"from_name": "a\nb"}, "from_name"),
        ({"smtp_password": "p", "smtp_security": "none"}, "encryption"),
    ],
)
def test_settings_are_checked(config: dict[str, Any], problem: str) -> None:
    settings = EmailConfig(**{"smtp_host": "mail.example.org", "from_address": SENDER, **config})
    with pytest.raises(BadRequest, match=problem):
        email_factory(Network()).build(BOT, settings)


def _certificate(folder: Path) -> Path:
    """A certificate for localhost that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "pair.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _fake(stage: Stage) -> SmtpFake:
    assert isinstance(stage.fake, SmtpFake)
    return stage.fake
