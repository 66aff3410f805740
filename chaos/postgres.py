"""A PostgreSQL of the storm's own, which can be restarted without asking anybody."""

import asyncio
import os
import pwd
import shutil
import tempfile
from asyncio.subprocess import STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tests.support.processes import free_port

USER = "postgres"
"""Whom it runs as, where the storm is root's: it does not run as root."""
OPTIONS = "-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"


class OwnPostgres:
    """A cluster in a folder; `url` is an empty database of it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql+asyncpg://{USER}@127.0.0.1:{self.port}/postgres"
        self._folder = folder
        self._programs = _programs()

    async def start(self) -> None:
        await self._run("initdb", "--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        await self._start()

    async def restart(self, random: Random) -> None:
        """End it as an operator would, or as a crash does, and start it again."""
        mode = random.choice(("fast", "immediate"))
        await self._run("pg_ctl", "stop", "--wait", "--mode", mode)
        await asyncio.sleep(random.uniform(0.0, 2.0))
        await self._start()

    async def stop(self) -> None:
        await self._run("pg_ctl", "stop", "--wait", "--mode", "immediate")

    async def _start(self) -> None:
        options = f"-p {self.port} {OPTIONS}"
        await self._run("pg_ctl", "start", "--wait", "--log", str(self._folder / "log"), "--options", options)

    async def _run(self, program: str, *arguments: str) -> None:
        log = self._folder / "commands.log"
        with log.open("ab") as output:  # not a pipe: the server that is started would keep it open
            process = await asyncio.create_subprocess_exec(
                str(self._programs / program),
                *arguments,
                env={**os.environ, "PGDATA": str(self._folder / "data")},
                user=USER if os.getuid() == 0 else None,
                cwd=self._folder,
                stdout=output,
                stderr=STDOUT,
            )
            code = await process.wait()
        if code != 0:
            raise RuntimeError(f"{program} ended with {code}: {log.read_text()[-2000:]}")


@asynccontextmanager
async def own_postgres() -> AsyncIterator[OwnPostgres]:
    """Run one until the block ends. Raises FileNotFoundError where PostgreSQL's programs are not installed."""
    with tempfile.TemporaryDirectory(prefix="palaver-postgres-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            shutil.chown(folder, pwd.getpwnam(USER).pw_uid)
        postgres = OwnPostgres(folder)
        await postgres.start()
        try:
            yield postgres
        finally:
            await postgres.stop()


def _programs() -> Path:
    """The folder of `pg_ctl`: on the path, or where Debian keeps the newest."""
    if (found := shutil.which("pg_ctl")) is not None:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if not folders:
        raise FileNotFoundError("there is no pg_ctl: install PostgreSQL")
    return folders[-1]
