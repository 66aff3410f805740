"""What `GET /api/v1/doctor` looks at: version and migrations, database, storage, disk, and the model servers."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import structlog
from sqlalchemy import text

from app import __version__
from app.database import migrations
from app.database.engine import Database
from app.errors import AppError
from app.ops.readiness import ReadyChecks
from app.providers.client import Provider
from app.providers.models import UpstreamError
from app.providers.service import ProviderRegistry

T = TypeVar("T")
State = Literal["ok", "warning", "failed"]

MODEL_SECONDS: Final = 15.0
MIB: Final = 1024 * 1024
WARN_FREE_BYTES: Final = 1024 * MIB
LEAST_FREE_BYTES: Final = 100 * MIB

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One check's outcome; `milliseconds` is how long its part took to answer, where one was asked."""

    name: str
    state: State
    detail: str
    milliseconds: float | None = None


class Doctor:
    """Checks this server from inside; what stands between it and its callers is checked by them."""

    def __init__(self, database: Database, ready: ReadyChecks, providers: ProviderRegistry, data_dir: Path) -> None:
        self._database = database
        self._ready = ready
        self._providers = providers
        self._data_dir = data_dir

    async def check(self) -> list[Check]:
        """Make all checks, side by side."""
        groups = await asyncio.gather(
            self._check_schema(),
            self._check_parts(),
            asyncio.to_thread(self._check_disk),
            *(check_provider(self._providers.get(id)) for id in self._providers.ids),
        )
        return [Check("version", "ok", f"Palaver {__version__}"), *(check for group in groups for check in group)]

    async def _check_schema(self) -> Sequence[Check]:
        query = text("SELECT version_num FROM alembic_version")
        try:
            current = await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())
        except AppError as error:
            return [Check("migrations", "failed", error.message)]
        newest = await asyncio.to_thread(migrations.head)
        if current == newest:
            return [Check("migrations", "ok", f"The schema is at {newest}, the newest")]
        return [Check("migrations", "failed", f"The schema is at {current}, and this version's is {newest}")]

    async def _check_parts(self) -> Sequence[Check]:
        async def one(name: str) -> Check:
            part = ReadyChecks({name: self._ready.checks[name]}, self._ready.timeout_seconds)
            works, milliseconds = await timed(part.run)
            detail = "Answers and takes writes" if works[name] else "Does not answer, or takes no writes: see the log"
            return Check(name, "ok" if works[name] else "failed", detail, milliseconds)

        return await asyncio.gather(*map(one, self._ready.checks))

    def _check_disk(self) -> Sequence[Check]:
        try:
            usage = shutil.disk_usage(self._data_dir)
        except OSError as error:
            return [Check("disk", "failed", f"The data folder cannot be looked at: {error.strerror}")]
        state: State = "ok" if usage.free >= WARN_FREE_BYTES else "warning"
        if usage.free < LEAST_FREE_BYTES:
            state = "failed"
        return [Check("disk", state, f"{usage.free // MIB} MiB of {usage.total // MIB} MiB are free")]


async def check_provider(provider: Provider) -> Sequence[Check]:
    """Have the model say a token."""
    name, body = (
        f"model server {provider.id}",
        {
            "model": provider.default_model,
            "messages": [{"role": "user", "content": "Say hi."}],
            "max_tokens": 16,
        },
    )
    try:
        async with asyncio.timeout(MODEL_SECONDS):
            _, milliseconds = await timed(lambda: provider.call("/chat/completions", body))
    except UpstreamError as error:
        log.info("model_server_failed_check", provider=provider.id, error=str(error))
        return [Check(name, "failed", str(error))]
    except TimeoutError:
        return [Check(name, "failed", f"No answer within {MODEL_SECONDS:.0f} seconds")]
    return [Check(name, "ok", f"{provider.default_model} answers", milliseconds)]


async def timed(act: Callable[[], Awaitable[T]]) -> tuple[T, float]:
    """Await what `act` begins; returns its result and how many milliseconds it took."""
    started = time.perf_counter()
    result = await act()
    return result, (time.perf_counter() - started) * 1000
