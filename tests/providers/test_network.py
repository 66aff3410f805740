"""The network around the server: proxies and certificate authorities, as the environment names them."""

import codecs
import io
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.providers.network import HttpProxy, Network, SocksProxy
from tests.providers.conftest import MakeProvider, asking, collect
from tests.support import socks_proxy
from tests.support.certificates import authority_certificate
from tests.support.logs import logging_to, parsed
from tests.support.model_server import ModelServer

VARIABLES = [name for each in ("http", "https", "all", "no") for name in (f"{each}_proxy", f"{each}_PROXY".upper())]
VARIABLES += ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]


@pytest.fixture(autouse=True)
def no_network_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    stream = io.StringIO()
    with logging_to(stream):
        yield lambda: parsed(stream)


def port_of(model: ModelServer) -> int:
    return int(model.base_url.removesuffix("/v1").rpartition(":")[2])


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks", "socks4", "socks4a"])
async def test_socks_is_spoken_to_a_socks_proxy(
    model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    async with socks_proxy.SocksProxy(port_of(model)) as proxy:
        monkeypatch.setenv(variable, f"{scheme}://127.0.0.1:{proxy.port}/")
        provider = make_provider(base_url="http://model.invalid/v1")
        for _ in range(2):
            reply = await collect(provider, asking())
            assert reply.error is None
    assert proxy.hosts == ["model.invalid"]  # one connection for both
    assert {request.path for request in model.requests} == {"/v1/chat/completions"}


async def test_a_name_and_password_are_sent_to_a_socks_proxy(
    model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with socks_proxy.SocksProxy(port_of(model)) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://ann:pass%40word@127.0.0.1:{proxy.port}")
        assert (await collect(make_provider(base_url="http://model.invalid/v1"), asking())).error is None
    assert proxy.logins == [("ann", "pass@word")]


async def test_a_socks_proxy_that_refuses_or_is_gone_is_an_error(
    model: ModelServer, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    async with socks_proxy.SocksProxy(port_of(model), refuses=True) as proxy:
        for port in (proxy.port, closed_port):
            monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{port}")
            reply = await collect(make_provider(base_url="http://model.invalid/v1"), asking())
            assert str(reply.failure) == "The model server could not be reached"
            assert "SOCKS proxy" in reply.failure.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_loopback_is_reached_without_a_proxy(
    model: ModelServer,
    make_provider: MakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    closed_port: int,
    host: str,
    scheme: str,
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{closed_port}")
    provider = make_provider(base_url=model.base_url.replace("127.0.0.1", host))
    for _ in range(2):
        assert (await collect(provider, asking())).error is None
    assert [(line["event"], line["host"]) for line in lines()] == [("proxy_not_asked", host)]


@pytest.mark.parametrize("host", ["::1", "127.8.9.1", "a.localhost"])
def test_all_of_loopback_is(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert Network().proxy_for("https", host) is None


@pytest.mark.parametrize(
    ("exceptions", "direct", "proxied"),
    [
        ("10.0.0.0/8", ["10.1.2.3"], ["11.1.2.3", "model.example"]),
        ("fd07::/64, ::2", ["fd07::1", "::2"], ["fd08::1"]),
        ("[fd07::1]", ["fd07::1"], ["fd07::2"]),
        ("'model.example,10.0.0.1'\r", ["model.example", "a.model.example", "10.0.0.1"], ["other.example"]),
        (".example", ["model.example"], ["model.test"]),
        ("*.example other.test", ["model.example", "other.test"], ["model.test"]),
        ("Model.example:443, 10.0.0.1:80", ["model.example", "10.0.0.1"], ["example", "xmodel.example"]),
        ("[fd07::1]:8080", ["fd07::1"], ["fd07::2"]),
        ("*", ["model.example", "10.0.0.1"], []),
        ("", [], ["model.example"]),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_exceptions_are_names_addresses_and_networks(
    monkeypatch: pytest.MonkeyPatch, variable: str, exceptions: str, direct: list[str], proxied: list[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://proxy.example")
    monkeypatch.setenv(variable, exceptions)
    network = Network()
    assert {host: network.proxy_for("https", host) for host in direct} == dict.fromkeys(direct)
    proxy = SocksProxy(5, "proxy.example", 1080, None, None)
    assert {host: network.proxy_for("https", host) for host in proxied} == dict.fromkeys(proxied, proxy)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ('"http://proxy.example:3128"\r', "http://proxy.example:3128"),
        ("https://proxy.example", "https://proxy.example"),
    ],
)
def test_an_http_proxy_may_lack_a_scheme_and_have_quotes(monkeypatch: pytest.MonkeyPatch, value: str, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert Network().proxy_for("https", "model.example") == HttpProxy(url)
    assert Network().proxy_for("http", "model.example") is None


@pytest.mark.parametrize("variable", ["ALL_PROXY", "https_proxy"])
@pytest.mark.parametrize(
    "value", ["quic://ann:secret@proxy", "socks6://proxy", "http://proxy:port", "socks5://", "http://[::1"]
)
def test_a_proxy_that_cannot_be_asked_is_left_out_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    monkeypatch.setenv(variable, value)
    assert Network().proxy_for("https", "model.example") is None
    (line,) = lines()
    assert (line["level"], line["event"], line["variable"]) == ("warning", "proxy_ignored", variable)
    assert "secret" not in str(line)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
@pytest.mark.parametrize(
    "content", [None, b"", b"not a certificate", b"\xff\xfe-\0", b"-----BEGIN CERTIFICATE-----\nx"]
)
def test_authorities_that_cannot_be_read_are_left_out_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    content: bytes | None,
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(variable, str(file))
    assert Network().ssl_context.verify_mode is ssl.CERT_REQUIRED
    (line,) = lines()
    assert (line["level"], line["variable"], line["file"]) == ("warning", variable, str(file))
    assert line["problem"]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("prefix", [b"", codecs.BOM_UTF8, "# café\n".encode()])
def test_authorities_in_a_file_are_trusted_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    prefix: bytes,
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(prefix + authority_certificate())
    monkeypatch.setenv(variable, f" {file}\r")
    assert len(Network().ssl_context.get_ca_certs()) == 1
    assert lines() == []


@pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_authorities_may_be_in_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    assert Network().ssl_context.get_ca_certs() == []
    assert lines() == []
