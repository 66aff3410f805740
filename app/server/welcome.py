"""What a server that has started tells its operator: where it is, what answers, and how to call it."""

import ipaddress
import socket
from pathlib import Path

from quart import Quart

from app import __version__
from app.auth.scopes import USER_SCOPES
from app.auth.service import KeyService
from app.edge.services import service
from app.providers.embedded import PROVIDER_ID as EMBEDDED
from app.providers.service import ProviderRegistry

FIRST_KEY_NAME = "first key"
HINT = "set OPENAI_API_KEY, or OPENAI_BASE_URL and PALAVER_OPENAI_MODEL, for a real model"


async def welcome(app: Quart, url: str, data_dir: Path, command: str, *, open_to_all: bool) -> str:
    """The lines to print; `command` is how to call the command line for this data folder.

    Makes the first key when there is none. It is made now, and not earlier, so that no failure of the start can come
    between its making and its only showing. Raises DatabaseUnavailable.
    """
    async with app.app_context():
        provider, keys = service(ProviderRegistry).default.id, service(KeyService)
    hint = f" ({HINT})" if provider == EMBEDDED else ""
    lines = [
        f"Palaver {__version__} listens on {url}, its documentation on {url}/docs",
        f"Data folder: {data_dir}",
        f"Model server: {provider}{hint}",
    ]
    if open_to_all:
        lines += ["Everyone who can connect is served without a key. Try it:", "", curl_line(url, None), ""]
    elif await keys.any_keys():
        lines += [f"New keys: {command} keys create --name NAME --scope chat"]
    else:
        _, text = await keys.create(name=FIRST_KEY_NAME, scopes=USER_SCOPES)
        lines += ["", "Your first key, shown this once:", "", text, "", "Try it:", "", curl_line(url, text), ""]
    return "\n".join(lines)


def curl_line(url: str, key: str | None) -> str:
    header = f" -H 'X-API-Key: {key}'" if key else ""
    body = '{"username":"alice","message":"Hello"}'
    return f"curl -N {url}/api/v1/chat{header} -H 'Content-Type: application/json' -d '{body}'"


def local_url(host: str, listener: socket.socket) -> str:
    """Where a client on this machine finds the server: one on all addresses is on loopback too."""
    address, port = listener.getsockname()[:2]
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
