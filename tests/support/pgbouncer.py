"""PgBouncer in transaction mode, in front of the tests' PostgreSQL."""

import asyncio
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import URL

from tests.support.processes import free_port

START_SECONDS = 10.0
USER = "nobody"
"""Whom it runs as, where the tests are root's: it does not run as root."""
CONNECTIONS = 3


def is_installed() -> bool:
    return _executable() is not None


@asynccontextmanager
async def pooled(url: URL, folder: Path) -> AsyncIterator[URL]:
    """Run PgBouncer with a few connections to the database at `url`; its own URL of the same database."""
    port, executable = free_port(), _executable()
    assert executable is not None
    lines = (
        "[databases]",
        f"* = host={url.host} port={url.port or 5432} user={url.username}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        "pool_mode = transaction",
        f"default_pool_size = {CONNECTIONS}",
    )
    file = folder / "pgbouncer.ini"
    file.write_text("\n".join(lines) + "\n")
    user = None
    if os.getuid() == 0:
        user = USER
        shutil.chown(file, pwd.getpwnam(USER).pw_uid)
    with file.open("rb") as config:  # which the other user may not be able to reach by its name
        process = await asyncio.create_subprocess_exec(
            executable,
            f"/proc/self/fd/{config.fileno()}",
            pass_fds=[config.fileno()],
            user=user,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _answers(port):
                    assert process.returncode is None, "pgbouncer did not start"
                    await asyncio.sleep(0.02)
            yield url.set(host="127.0.0.1", port=port)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _executable() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
