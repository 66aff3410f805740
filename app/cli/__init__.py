"""The command line: `palaver serve | dashboard | doctor | keys | db | bots | tools | mcp | openapi`.

Answers go to standard output, everything else to standard error. An error that the operator can correct is one line
and exit code 1, without a traceback. The application is imported by the commands that need it: the others are quick.
"""

import os

import click

from app import __version__
from app.cli import bots, dashboard, database, doctor, document, keys, serving, tools
from app.cli.errors import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="palaver")
def main() -> None:
    """Palaver: a self-hosted Open API for chat bots.

    Settings come from the options below, the environment (PALAVER_...), and palaver.toml in the data folder.
    """
    # The data folder holds keys and conversations: what is made in it is for its owner only.
    os.umask(0o077)


main.add_command(serving.serve)
main.add_command(dashboard.dashboard)
main.add_command(doctor.doctor)
main.add_command(keys.keys)
main.add_command(database.db)
main.add_command(bots.bots)
main.add_command(tools.tools)
main.add_command(tools.mcp)
main.add_command(document.openapi)
