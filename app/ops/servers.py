"""`GET /api/v1/servers`."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.clock import iso
from app.cluster.models import Server
from app.cluster.servers import Servers
from app.edge.operation import Answer, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import DateTime, example, example_of
from app.edge.services import service

blueprint = Blueprint("servers", __name__)


class ServerItem(msgspec.Struct):
    """A server on the database."""

    id: Annotated[
        str,
        Meta(description="Its id, the same after a restart."),
        example("6f1c2a52-3d0b-4a7b-8a51-0c5f5f1f9d11"),
    ]
    hostname: Annotated[str, Meta(description="The name of its machine."), example("palaver-1")]
    address: Annotated[str, Meta(description="Where it listens."), example("0.0.0.0:6185")]
    version: Annotated[str, Meta(description="Its version of Palaver."), example("0.1.0")]
    started_at: Annotated[DateTime, Meta(description="When it started.")]
    seen_at: Annotated[DateTime, Meta(description="When it was last seen, by the database's clock.")]
    is_live: Annotated[bool, Meta(description="Whether it counts as living."), example(True)]
    is_this: Annotated[bool, Meta(description="Whether it is the one that answers."), example(True)]
    runs: Annotated[int, Meta(description="Its replies that wait or go on."), example(3)]
    streams: Annotated[int, Meta(description="Its open streams."), example(4)]
    websockets: Annotated[int, Meta(description="Its open WebSockets."), example(1)]

    @classmethod
    def of(cls, server: Server, own_id: str) -> "ServerItem":
        return cls(
            id=server.id,
            hostname=server.hostname,
            address=server.address,
            version=server.version,
            started_at=iso(server.started_at),
            seen_at=iso(server.seen_at),
            is_live=server.is_live,
            is_this=server.id == own_id,
            runs=server.total("runs"),
            streams=server.total("streams"),
            websockets=server.total("websockets"),
        )


class ServerList(msgspec.Struct):
    servers: Annotated[
        list[ServerItem], Meta(description="The servers, the oldest first."), example([example_of(ServerItem)])
    ]


@blueprint.get("/api/v1/servers")
@operation(
    "listServers",
    "List the servers",
    scope=Scope.ADMIN,
    tag="Management",
    description="The servers that share the database, and how much goes on at each, about a second ago. One that has "
    "died is listed for a day; with SQLite there is this one alone. For a key that is not bound to a username.",
    answers={200: Answer("The servers", ServerList, envelope="ApiResponseServers")},
    errors={403: refusal("The API key is bound to a username", "username_not_allowed")},
)
async def list_servers() -> Response:
    caller().check_unbound()
    servers = service(Servers)
    return ok(ServerList([ServerItem.of(each, servers.id) for each in await servers.list()]))
