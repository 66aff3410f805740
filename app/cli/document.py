"""`palaver openapi`."""

import tempfile
from pathlib import Path

import click

from app.cli.errors import Refusal
from app.settings import Settings

OPENAPI_FILE = Path("openapi.json")


@click.command()
@click.option("--check", is_flag=True, help="Compare with ./openapi.json instead of printing.")
def openapi(check: bool) -> None:
    """Print the OpenAPI document."""
    from app.bootstrap import EVENT_SCHEMAS, create_app
    from app.edge.openapi import build_document, render

    # The document is the same whatever the settings: these are the defaults, on a folder that is gone afterwards.
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings.model_construct(data_dir=Path(folder)))
        document = render(build_document(app, EVENT_SCHEMAS))
    if not check:
        click.echo(document, nl=False)
    elif not OPENAPI_FILE.is_file() or OPENAPI_FILE.read_text(encoding="utf-8") != document:
        raise Refusal(f"{OPENAPI_FILE} is not what the routes say: make openapi")
    else:
        click.echo(f"{OPENAPI_FILE} is up to date")
