"""`palaver dashboard`."""

import asyncio
from pathlib import Path

import click

from app.cli.errors import refusing
from app.cli.folder import data_dir_option, prepare, upgrade
from app.settings import Settings, load_settings


@click.command()
@click.option("--url", help="The server's address, as the browser reaches it.  [that of PALAVER_HOST and PALAVER_PORT]")
@data_dir_option
def dashboard(url: str | None, data_dir: Path | None) -> None:
    """Print an address of the dashboard that signs in: for five minutes, and once."""
    settings = load_settings(data_dir=data_dir)
    from app.server.welcome import dashboard_url

    token = None if settings.no_auth else asyncio.run(_token(settings))
    click.echo(dashboard_url((url or server_url(settings)).rstrip("/"), token))


def server_url(settings: Settings) -> str:
    """The address that the settings give the server, on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  # all of them
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


async def _token(settings: Settings) -> str:
    from app.core import open_core
    from app.parts import open_browser_sessions

    prepare(settings)
    await asyncio.to_thread(upgrade, settings)
    with refusing("Cannot make a token"):
        core = open_core(settings)
    try:
        await core.keys.open()
        return await open_browser_sessions(settings, core).create_operator_token()
    finally:
        await core.database.close()
