"""`GET /api/v1/configs`."""

from typing import Annotated

import msgspec
from quart import Blueprint, Response

from app.auth.scopes import Scope
from app.cluster.configs import ConfigWatch
from app.edge.operation import Answer, operation
from app.edge.responses import ok
from app.edge.schemas import example
from app.edge.services import service
from app.profiles.service import DEFAULT_ID, ProfileService

blueprint = Blueprint("configs", __name__)


class ChatConfigFile(msgspec.Struct):
    """A profile; `path` is relative to the profiles' folder, `problem` says why its last edit is not in force."""

    id: Annotated[str, example("default")]
    name: Annotated[str, example("default")]
    path: Annotated[str, example("default.toml")]
    is_default: Annotated[bool, example(True)]
    problem: str | None


class ConfigDifference(msgspec.Struct):
    """A profile or setting that servers on the same database have otherwise than the one that answers."""

    name: Annotated[
        str,
        example("profile default"),
        msgspec.Meta(description="`profile` and its id, or `setting` and its name."),
    ]
    server_ids: Annotated[
        list[str],
        example(["6b1f2c1e-8a57-4a53-9a60-1a5c57d1c0de"]),
        msgspec.Meta(description="The servers that have it otherwise, or have none, or are alone in having one."),
    ]


class ChatConfigList(msgspec.Struct):
    configs: list[ChatConfigFile]
    differences: list[ConfigDifference]


_CONFIGS = {200: Answer("The profiles, the default first", ChatConfigList, envelope="ApiResponseChatConfigList")}


@blueprint.get("/api/v1/chat/configs")
@operation(
    "listChatConfigs",
    "List available chat config files",
    scope=Scope.CONFIG,
    description="The same as `GET /api/v1/configs`, as AstrBot spells it later.",
    answers=_CONFIGS,
)
async def list_chat_configs() -> Response:
    return await list_configs()


@blueprint.get("/api/v1/configs")
@operation(
    "listConfigs",
    "List available chat config files",
    scope=Scope.CONFIG,
    description="The profiles that `config_id` or `config_name` of a chat request can choose.",
    answers=_CONFIGS,
)
async def list_configs() -> Response:
    configs = [
        ChatConfigFile(
            id=entry.profile.id,
            name=entry.profile.name,
            path=entry.file,
            is_default=entry.profile.id == DEFAULT_ID,
            problem=entry.problem,
        )
        for entry in service(ProfileService).entries()
        if entry.profile is not None
    ]
    differences = [ConfigDifference(each.name, list(each.server_ids)) for each in service(ConfigWatch).differences]
    return ok(ChatConfigList(configs, differences))
