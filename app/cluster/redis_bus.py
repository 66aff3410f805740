"""The bus on Redis: its pub/sub, which keeps nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from app.cluster.live_bus import Frame, Receive, Send

TIMEOUT_SECONDS = 5.0


class RedisTransport:
    """Frames as messages of the Redis server at `url`."""

    name = "Redis"
    max_frame_bytes = 256 * 1024

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def connect(self, channels: Sequence[str], receive: Receive) -> AsyncIterator[Send]:
        from redis.asyncio import Redis

        # A beat comes each second: longer silence is a fault, which the bus notices.
        client = Redis.from_url(self._url, socket_connect_timeout=TIMEOUT_SECONDS, socket_timeout=TIMEOUT_SECONDS)
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(*channels)
            async with asyncio.TaskGroup() as group:

                async def hear() -> None:
                    async for message in pubsub.listen():
                        receive(message["data"])
                    raise ConnectionError("Redis sends nothing more")

                hearing = group.create_task(hear())

                async def send(frames: Sequence[Frame]) -> None:
                    pipeline = client.pipeline(transaction=False)
                    for channel, frame in frames:
                        pipeline.publish(channel, frame)
                    await pipeline.execute()

                yield send
                hearing.cancel()
        finally:
            with suppress(Exception):
                await pubsub.aclose()  # type: ignore[no-untyped-call]
                await client.aclose()
