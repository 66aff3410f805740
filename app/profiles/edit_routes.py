"""`/api/v1/config-profiles`: reading and editing profiles."""

from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.auth.trail import audited, set_target
from app.edge.bodies import BodyLimit, body_errors, convert, json_object
from app.edge.operation import Answer, Body, Operation, Param, empty, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example
from app.edge.services import service
from app.errors import BadRequest, PreconditionRequired
from app.profiles.editor import ProfileEditor, Version, values_of_version
from app.profiles.models import ProfileFile
from app.profiles.schemas import PROFILE_EXAMPLE, ProfileFields

blueprint = Blueprint("config_profiles", __name__)
PATH = "/api/v1/config-profiles"

_BODY_ERRORS = body_errors(BodyLimit().bytes)
_BOUND = refusal("The API key is bound to a username", "username_not_allowed")
_CONFIG_ID = Param("config_id", "The profile's id.", {"type": "string"}, where="path")
_IF_MATCH = Param(
    "If-Match",
    "The ETag of the version that the change was made from, or `*` for whatever is there now.",
    {"type": "string", "minLength": 1},
    where="header",
)
_NOT_FOUND = refusal("config_id not found: poet", "config_not_found")
_VERSION_ERRORS = {
    403: _BOUND,
    404: _NOT_FOUND,
    412: refusal("The profile has been changed meanwhile: read it again", "precondition_failed"),
    428: refusal("Send If-Match with the profile's ETag", "precondition_required"),
    503: refusal("The profiles cannot be written at the moment", "storage_unavailable"),
}
_INVALID = refusal("Expected `float` <= 2.0 - at `$.parameters.temperature`", "invalid_profile", "invalid_request")


class ConfigProfile(ProfileFields, kw_only=True):
    """A profile, with all its fields as in the TOML."""

    id: Annotated[str, example("poet")]
    problem: str | None


class ConfigProfileList(msgspec.Struct):
    profiles: Annotated[list[ConfigProfile], Meta(description="The profiles, the default first.")]


class NewConfigProfile(ProfileFields, kw_only=True):
    """A profile; what is left out has its default."""

    id: Annotated[str, Meta(description="Letters, digits, `-`, `_` and `.`: the file's name without `.toml`.")]


class ReadConfigProfile(ProfileFields, kw_only=True):
    """The settings of a profile, as they were read: `id` and `problem` are passed over."""

    id: Annotated[str | UnsetType, Meta(description="The id in the path.")] = UNSET
    problem: str | UnsetType | None = UNSET


class UncheckedProfile(msgspec.Struct):
    """The settings of a profile, whatever they are worth."""

    name: Annotated[Any, Meta(description="What people call it, and so on with the others.")] = UNSET


class RenameConfigProfile(msgspec.Struct):
    """The new id."""

    id: Annotated[str, Meta(description="The new id.")]


class ProfileSchema(msgspec.Struct):
    """What a profile may hold."""

    schema: Annotated[dict[str, Any], Meta(description="A JSON Schema."), example({"type": "object"})]


class ProfileCheck(msgspec.Struct):
    """Whether a profile could be stored as it is."""

    valid: Annotated[bool, Meta(description="Whether it could."), example(False)]
    problems: Annotated[list[str], Meta(description="What is wrong with it."), example(["provider not found: nowhere"])]


_PROFILE = Answer(
    "The profile", ConfigProfile, PROFILE_EXAMPLE, envelope="ApiResponseConfigProfile", headers={"ETag": "The version."}
)
_SETTINGS = {"poet": {"name": "Poet", "parameters": {"temperature": 1.2}}}
_BODY = Body(ReadConfigProfile, _SETTINGS)
_ANY_BODY = Body(UncheckedProfile, _SETTINGS)
read_operation = partial(operation, scope=Scope.CONFIG, tag="Management")


def _write_operation(id: str, summary: str, **members: Any) -> Operation:
    return Operation(id, summary, scope=Scope.ADMIN, tag="Management", **members)


@blueprint.get(PATH)
@read_operation(
    "listConfigProfiles",
    "List profiles",
    description="The profiles with all their settings. For a key that is not bound to a username.",
    answers={
        200: Answer(
            "The profiles",
            ConfigProfileList,
            {"profiles": [PROFILE_EXAMPLE]},
            envelope="ApiResponseConfigProfileList",
        )
    },
    errors={403: _BOUND},
)
async def list_profiles() -> Response:
    caller().check_unbound()
    versions = await service(ProfileEditor).list_versions()
    return ok({"profiles": [values_of_version(version) for version in versions]})


@blueprint.post(PATH)
@_write_operation(
    "createConfigProfile",
    "Create a profile",
    description="Writes a new file. It can be used from the next message on.",
    body=Body(NewConfigProfile, {"poet": {"id": "poet", "name": "Poet", "system_prompt": "Answer in verse."}}),
    answers={201: _PROFILE},
    errors={
        400: _INVALID,
        403: _BOUND,
        409: refusal("There is a profile with this id: poet", "config_exists"),
        503: _VERSION_ERRORS[503],
        **_BODY_ERRORS,
    },
)
@audited("profile.created")
async def create_profile() -> Response:
    caller().check_unbound()
    body = await json_object()
    id = body.pop("id", None)
    if not isinstance(id, str):
        raise BadRequest("id must be text", code="invalid_profile")
    set_target(id)
    return _answer(await service(ProfileEditor).create(id, body), 201)


@blueprint.get(f"{PATH}/schema")
@read_operation(
    "getConfigProfileSchema",
    "Get the JSON Schema of profiles",
    description="What a profile may hold, for forms and editors.",
    answers={200: Answer("The schema", ProfileSchema, envelope="ApiResponseProfileSchema")},
)
async def get_schema() -> Response:
    return ok({"schema": msgspec.json.schema(ProfileFile)})


@blueprint.get(f"{PATH}/<config_id>")
@read_operation(
    "getConfigProfile",
    "Get a profile",
    description="One profile with all its settings, and the ETag of its file. While the file is broken, it is the last "
    "good version, and `problem` says why.",
    params=[_CONFIG_ID],
    answers={200: _PROFILE},
    errors={403: _BOUND, 404: _NOT_FOUND},
)
async def get_profile(config_id: str) -> Response:
    caller().check_unbound()
    return _answer(await service(ProfileEditor).get(config_id))


@blueprint.put(f"{PATH}/<config_id>")
@_write_operation(
    "replaceConfigProfile",
    "Replace a profile",
    description="Replaces all settings of a profile; what is left out has its default. Comments in the file stay where "
    "their lines do.",
    params=[_CONFIG_ID, _IF_MATCH],
    body=_BODY,
    answers={200: _PROFILE},
    errors={400: _INVALID, **_VERSION_ERRORS, **_BODY_ERRORS},
)
@audited("profile.changed")
async def replace_profile(config_id: str) -> Response:
    caller().check_unbound()
    body = await json_object()
    _drop_shown(body, config_id)
    return _answer(await service(ProfileEditor).replace(config_id, body, _etag()))


@blueprint.patch(f"{PATH}/<config_id>")
@_write_operation(
    "changeConfigProfile",
    "Change a profile",
    description="Changes the settings that are given, also single ones of a table; null takes one away.",
    params=[_CONFIG_ID, _IF_MATCH],
    body=_BODY,
    answers={200: _PROFILE},
    errors={
        400: _INVALID,
        **_VERSION_ERRORS,
        409: refusal("The file is broken: replace it", "config_broken"),
        **_BODY_ERRORS,
    },
)
@audited("profile.changed")
async def change_profile(config_id: str) -> Response:
    caller().check_unbound()
    body = await json_object()
    _drop_shown(body, config_id)
    return _answer(await service(ProfileEditor).change(config_id, body, _etag()))


@blueprint.delete(f"{PATH}/<config_id>")
@_write_operation(
    "deleteConfigProfile",
    "Delete a profile",
    description="Deletes the file. Sessions that chose it are answered by the default profile from then on.",
    params=[_CONFIG_ID, _IF_MATCH],
    answers={200: empty("It is gone")},
    errors={
        **_VERSION_ERRORS,
        409: refusal("The default profile can be neither renamed nor deleted", "config_is_default"),
    },
)
@audited("profile.deleted")
async def delete_profile(config_id: str) -> Response:
    caller().check_unbound()
    await service(ProfileEditor).delete(config_id, _etag())
    return ok({})


@blueprint.post(f"{PATH}/<config_id>/rename")
@_write_operation(
    "renameConfigProfile",
    "Rename a profile",
    description="Gives a profile another id; what names it follows in one transaction: sessions, roles, "
    "bots, and keys that are limited to it.",
    params=[_CONFIG_ID, _IF_MATCH],
    body=Body(RenameConfigProfile, {"to bard": {"id": "bard"}}),
    answers={200: _PROFILE},
    errors={
        400: _INVALID,
        **_VERSION_ERRORS,
        409: refusal("There is a profile with this id: bard", "config_exists", "config_is_default"),
        503: refusal("The profiles cannot be written at the moment", "storage_unavailable", "database_unavailable"),
        **_BODY_ERRORS,
    },
)
@audited("profile.renamed")
async def rename_profile(config_id: str) -> Response:
    caller().check_unbound()
    new = convert(await json_object(), RenameConfigProfile)
    set_target(f"{config_id} to {new.id}")
    return _answer(await service(ProfileEditor).rename(config_id, new.id, _etag()))


@blueprint.post(f"{PATH}/<config_id>/validate")
@read_operation(
    "validateConfigProfile",
    "Validate a profile",
    description="Checks settings as a replacement of the profile would, and changes nothing.",
    params=[_CONFIG_ID],
    body=_ANY_BODY,
    answers={200: Answer("What was found", ProfileCheck, envelope="ApiResponseProfileCheck")},
    errors={403: _BOUND, **_BODY_ERRORS},
)
async def validate_profile(config_id: str) -> Response:
    caller().check_unbound()
    body = await json_object()
    _drop_shown(body, config_id)
    problems = service(ProfileEditor).problems(config_id, body)
    return ok(ProfileCheck(not problems, problems))


def _answer(version: Version, status: int = 200) -> Response:
    response = ok(values_of_version(version), status)
    response.headers["ETag"] = version.etag
    response.headers["Cache-Control"] = "no-store"
    return response


def _drop_shown(body: dict[str, Any], config_id: str) -> None:
    """Drop what a profile shows beside its settings: one that was read can be sent back. Raises BadRequest."""
    body.pop("problem", None)
    if body.pop("id", config_id) != config_id:
        raise BadRequest("A profile is renamed by POST .../rename", code="invalid_profile")


def _etag() -> str:
    """Return the version that the change was made from. Raises PreconditionRequired."""
    etag = request.headers.get("If-Match", "").strip().removeprefix("W/")
    if not etag:
        raise PreconditionRequired("Send If-Match with the profile's ETag")
    return etag
