"""`palaver serve`."""

import gc
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click
import structlog

from app.cli.errors import Refusal, refusing
from app.cli.folder import data_dir_option, lock, prepare, upgrade
from app.environment import read_environment
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from quart import Quart

    from app.server.addresses import Address


@click.command()
@click.option("--host", help="The address to listen on.  [PALAVER_HOST, or 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 picks a free one.  [PALAVER_PORT, or 6185]")
@data_dir_option
@click.option("--no-auth", is_flag=True, default=None, help="Serve everyone without a key; on loopback only.")
@click.option(
    "--server",
    type=click.Choice(["hypercorn", "uvicorn"]),
    help="The ASGI server; uvicorn is faster, and an extra.  [PALAVER_SERVER, or hypercorn]",
)
def serve(**options: Any) -> None:
    """Run the server."""
    # All that the start makes stays, and to look for garbage in it takes a sixth of the start.
    gc.disable()
    settings = load_settings(**options)
    from app.server.addresses import resolve
    from app.telemetry.logs import configure_logging

    configure_logging(settings.log_level, settings.log_format, secrets=settings.secret_texts())
    _warn_of_unknown_variables(settings)
    addresses = resolve(settings.host, settings.port)
    if settings.no_auth and not all(address.is_loopback for address in addresses):
        raise Refusal(f"--no-auth serves everyone who can connect: it needs a loopback host, not {settings.host}")
    _serve(settings, addresses)


def _serve(settings: Settings, addresses: "list[Address]") -> None:
    from app.bootstrap import create_app
    from app.server.addresses import listen, local_url
    from app.server.options import ServerOptions
    from app.server.run import run
    from app.server.welcome import welcome

    prepare(settings)
    with lock(settings):
        sockets = listen(addresses)
        url = local_url(settings.host, sockets[0])
        upgrade(settings)
        with refusing("Cannot start"):
            app = create_app(settings)

        async def on_ready() -> None:
            click.echo(
                await welcome(app, url, settings.data_dir.absolute(), _command(settings), open_to_all=settings.no_auth)
            )
            sys.stdout.flush()

        async def on_stop() -> None:
            await _drain(app, settings.drain_seconds)

        options = ServerOptions(max_websocket_bytes=settings.max_body_bytes, cleartext_http2=settings.cleartext_http2)
        run(app, sockets, settings.server, options, on_ready=on_ready, on_stop=on_stop)


async def _drain(app: "Quart", seconds: float) -> None:
    """Let the running replies come to their end, and with them the streams that show them."""
    from app.bots.inbox.service import InboxService
    from app.chat.runs.engine import RunEngine
    from app.doors.open_api.websocket import Sockets
    from app.edge.services import service

    click.echo("Stopping ...", err=True)
    async with app.app_context():
        engine, sockets, inbox = service(RunEngine), service(Sockets), service(InboxService)
    await engine.close(seconds)
    sockets.go_down()
    inbox.going_down.set()


def _warn_of_unknown_variables(settings: Settings) -> None:
    for variable in settings.unknown_variables():
        structlog.get_logger(__name__).warning("unknown_variable", variable=variable.name, nearest=variable.nearest)


def _command(settings: Settings) -> str:
    """The command by which `palaver` is called from here, for this data folder."""
    name = "palaver" if shutil.which("palaver") else shlex.quote(sys.argv[0])
    folder = str(settings.data_dir)
    is_default = folder == read_environment().get("PALAVER_DATA_DIR", "data")
    return name if is_default else f"PALAVER_DATA_DIR={shlex.quote(folder)} {name}"
