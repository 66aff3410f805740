"""The text that a server prints when it has started: its address, its model server, and how to call it."""

from pathlib import Path

from quart import Quart

from app import __version__
from app.auth.browser.service import BrowserSessions
from app.auth.scopes import USER_SCOPES
from app.auth.service import KeyService
from app.edge.services import service
from app.providers.embedded import PROVIDER_ID as EMBEDDED
from app.providers.service import ProviderRegistry

FIRST_KEY_NAME = "first key"
HINT = "set OPENAI_API_KEY, or OPENAI_BASE_URL and PALAVER_OPENAI_MODEL, for a real model"


async def welcome(app: Quart, url: str, data_dir: Path, command: str, *, open_to_all: bool) -> str:
    """The text to print; `command` calls the command line for this data folder.

    Makes the first key when there is none: now, because a start that fails later would lose the key, which is shown
    only once. Raises DatabaseUnavailable.
    """
    async with app.app_context():
        provider, keys, browsers = service(ProviderRegistry).default.id, service(KeyService), service(BrowserSessions)
    hint = f" ({HINT})" if provider == EMBEDDED else ""
    lines = [
        f"Palaver {__version__} listens on {url}, its documentation on {url}/docs",
        f"Data folder: {data_dir}",
        f"Model server: {provider}{hint}",
    ]
    if open_to_all:
        lines += [f"Dashboard: {dashboard_url(url)}"]
        lines += ["Everyone who can connect is served without a key. Try it:", "", curl_line(url, None), ""]
        return "\n".join(lines)
    has_keys = await keys.any_keys()
    lines += [f"Dashboard, once and within five minutes: {dashboard_url(url, await browsers.create_operator_token())}"]
    if has_keys:
        lines += [f"New keys: {command} keys create --name NAME --scope chat"]
    else:
        _, text = await keys.create(name=FIRST_KEY_NAME, scopes=USER_SCOPES)
        lines += ["", "Your first key, shown this once:", "", text, "", "Try it:", "", curl_line(url, text), ""]
    return "\n".join(lines)


def dashboard_url(url: str, token: str | None = None) -> str:
    """The dashboard's address; the token is in the fragment, which browsers send to nobody."""
    return f"{url}/dashboard" + (f"#token={token}" if token else "")


def curl_line(url: str, key: str | None) -> str:
    header = f" -H 'X-API-Key: {key}'" if key else ""
    body = '{"username":"alice","message":"Hello"}'
    return f"curl -N {url}/api/v1/chat{header} -H 'Content-Type: application/json' -d '{body}'"
