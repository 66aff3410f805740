"""`/api/v1/providers`: model servers."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.auth.trail import audited, set_target
from app.edge.bodies import BodyLimit, body_errors, convert, json_object, optional_json_object
from app.edge.operation import Answer, Body, Param, empty, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example, example_of, shape_of
from app.edge.services import service
from app.providers.admin import ID_PATTERN, ProviderAdmin, ProviderConfig, given

blueprint = Blueprint("providers", __name__)
provider_operation = partial(operation, scope=Scope.ADMIN, tag="Management")
PATH = "/api/v1/providers"

_ID = Param("provider_id", "The provider's id.", {"type": "string"}, where="path")
_BOUND = {403: refusal("The API key is bound to a username", "username_not_allowed")}
_NOT_FOUND = {404: refusal("Provider not found", "provider_not_found")}
_BODY_ERRORS = body_errors(BodyLimit().bytes)
_MAX_SECONDS = 3600.0


class ProviderItem(msgspec.Struct, kw_only=True):
    """A model server, without its secrets."""

    id: Annotated[str, example("groq")]
    source: Annotated[
        str, Meta(description="`settings` or `api`: only the latter can be changed over HTTP."), example("api")
    ]
    is_default: Annotated[bool, example(False)]
    base_url: Annotated[
        str, Meta(description="Its address without the query."), example("https://api.groq.com/openai/v1")
    ]
    default_model: Annotated[str, Meta(description="The model when a request names none."), example("llama-3.3-70b")]
    models: Annotated[list[str], Meta(description="The models that a request may name; empty admits any.")]
    timeout_seconds: Annotated[float, Meta(description="Silence after which a reply counts as lost."), example(120.0)]
    connect_timeout_seconds: Annotated[float, Meta(description="Time to reach it."), example(10.0)]
    max_retries: Annotated[int, Meta(description="Further tries before the first token."), example(2)]
    has_api_key: Annotated[bool, Meta(description="Whether it has a key, which is never shown."), example(True)]
    extra_headers: Annotated[list[str], Meta(description="The names of the headers that are sent with each request.")]


class ProviderList(msgspec.Struct):
    providers: Annotated[
        list[ProviderItem],
        Meta(description="The providers; those of the settings come first."),
        example([example_of(ProviderItem)]),
    ]


_Name = Annotated[str, Meta(min_length=1, max_length=255)]


class PutProviderRequest(msgspec.Struct, kw_only=True):
    """A model server. What is left out has its default; but `api_key` and `extra_headers` stay, if the address does."""

    base_url: Annotated[str, Meta(max_length=2048, description="For example `https://api.groq.com/openai/v1`.")]
    default_model: Annotated[_Name, Meta(description="The model when a request names none.")]
    api_key: Annotated[
        str | UnsetType | None, Meta(description="Its key, which is stored encrypted; null takes it away.")
    ] = UNSET
    models: Annotated[list[_Name], Meta(max_length=1000, description="The models to admit; empty admits any.")] = []
    timeout_seconds: Annotated[
        float, Meta(gt=0, le=_MAX_SECONDS, description="Silence after which a reply counts as lost.")
    ] = 120.0
    connect_timeout_seconds: Annotated[float, Meta(gt=0, le=_MAX_SECONDS, description="Time to reach it.")] = 10.0
    max_retries: Annotated[int, Meta(ge=0, le=10, description="Further tries before the first token.")] = 2
    extra_headers: Annotated[
        dict[str, str] | UnsetType, Meta(description="Sent with each request; stored encrypted, never shown.")
    ] = UNSET

    @property
    def config(self) -> ProviderConfig:
        names = ProviderConfig.__struct_fields__
        return ProviderConfig(
            **{name: getattr(self, name) for name in names if name != "models"}, models=tuple(self.models)
        )


class CreateProviderRequest(PutProviderRequest, kw_only=True):
    """A model server, and the id by which requests and profiles name it."""

    id: Annotated[str, Meta(pattern=ID_PATTERN, description="Its id.")]


class TestProviderRequest(msgspec.Struct, kw_only=True):
    """The model to ask; left out, the default one."""

    model: _Name | None = None


class ProviderTestItem(msgspec.Struct, kw_only=True):
    """What came of one request to the model server."""

    ok: Annotated[bool, Meta(description="Whether it has answered."), example(True)]
    model: Annotated[str, example("llama-3.3-70b")]
    milliseconds: Annotated[int, Meta(description="Until the end of its answer."), example(640)]
    first_token_milliseconds: Annotated[
        int | None, Meta(description="Until its first token; null without one."), example(210)
    ]
    error: Annotated[str | None, Meta(description="Why there is no answer."), example(None)]


class ProviderModels(msgspec.Struct):
    models: Annotated[
        list[str], Meta(description="Names of models, the default one first."), example(["llama-3.3-70b"])
    ]


_PROVIDER = Answer("The provider", ProviderItem, envelope="ApiResponseProvider")
_INVALID = refusal("base_url must not name a private address", "invalid_provider", "too_many_providers")
_GROQ = {"base_url": "https://api.groq.com/openai/v1", "default_model": "llama-3.3-70b", "api_key": "the-servers-key"}


@blueprint.get(PATH)
@provider_operation(
    "listProviders",
    "List the providers",
    description="The model servers, those of the settings and those that were added here, without their secrets.",
    answers={200: Answer("The providers", ProviderList, envelope="ApiResponseProviderList")},
    errors=_BOUND,
)
async def list_providers() -> Response:
    caller().check_unbound()
    providers = await service(ProviderAdmin).list_providers()
    return ok(ProviderList([shape_of(ProviderItem, each) for each in providers]))


@blueprint.post(PATH)
@provider_operation(
    "createProvider",
    "Add a provider",
    description="Adds a model server with OpenAI's API. It can be used at once, on other servers within five seconds. "
    "Only public addresses can be added, unless `PALAVER_PROVIDERS_ALLOW_PRIVATE` is set.",
    body=Body(CreateProviderRequest, {"groq": {"id": "groq", **_GROQ}}),
    answers={201: _PROVIDER},
    errors={
        400: _INVALID,
        **_BOUND,
        409: refusal("There is a provider with this id: groq", "provider_exists", "provider_configured"),
        **_BODY_ERRORS,
    },
)
@audited("provider.created")
async def create_provider() -> Response:
    caller().check_unbound()
    new = convert(await json_object(), CreateProviderRequest)
    set_target(new.id)
    secrets = given(api_key=new.api_key, extra_headers=new.extra_headers)
    provider = await service(ProviderAdmin).put(new.id, new.config, secrets, must_be_new=True)
    return ok(shape_of(ProviderItem, provider), 201)


@blueprint.get(f"{PATH}/<provider_id>")
@provider_operation(
    "getProvider",
    "Get a provider",
    description="One model server, without its secrets.",
    params=[_ID],
    answers={200: _PROVIDER},
    errors={**_BOUND, **_NOT_FOUND},
)
async def get_provider(provider_id: str) -> Response:
    caller().check_unbound()
    return ok(shape_of(ProviderItem, await service(ProviderAdmin).get(provider_id)))


@blueprint.put(f"{PATH}/<provider_id>")
@provider_operation(
    "putProvider",
    "Add or replace a provider",
    description="Replaces all of a model server. The key and the headers that are not given stay only if the address "
    "does: they are not sent to another one.",
    params=[_ID],
    body=Body(PutProviderRequest, {"groq": _GROQ}),
    answers={200: _PROVIDER},
    errors={
        400: _INVALID,
        **_BOUND,
        409: refusal("The provider is one of the settings", "provider_configured"),
        **_BODY_ERRORS,
    },
)
@audited("provider.changed")
async def put_provider(provider_id: str) -> Response:
    caller().check_unbound()
    new = convert(await json_object(), PutProviderRequest)
    secrets = given(api_key=new.api_key, extra_headers=new.extra_headers)
    return ok(shape_of(ProviderItem, await service(ProviderAdmin).put(provider_id, new.config, secrets)))


@blueprint.delete(f"{PATH}/<provider_id>")
@provider_operation(
    "deleteProvider",
    "Delete a provider",
    description="Deletes a model server that was added over HTTP, and its secrets. Replies that go on are finished.",
    params=[_ID],
    answers={200: empty("It is gone")},
    errors={**_BOUND, **_NOT_FOUND, 409: refusal("The provider is one of the settings", "provider_configured")},
)
@audited("provider.deleted")
async def delete_provider(provider_id: str) -> Response:
    caller().check_unbound()
    await service(ProviderAdmin).delete(provider_id)
    return ok({})


@blueprint.post(f"{PATH}/<provider_id>/test")
@provider_operation(
    "testProvider",
    "Test a provider",
    description="Asks the model server for one short reply, which counts for no key, and takes the time.",
    params=[_ID],
    body=Body(TestProviderRequest, {"its default model": {}, "another one": {"model": "gpt-4.1"}}, required=False),
    answers={200: Answer("What came of it", ProviderTestItem, envelope="ApiResponseProviderTest")},
    errors={
        400: refusal("Expected `str`, got `int` - at `$.model`", "invalid_request"),
        **_BOUND,
        **_NOT_FOUND,
        **_BODY_ERRORS,
    },
)
async def check_provider(provider_id: str) -> Response:
    caller().check_unbound()
    wish = convert(await optional_json_object(), TestProviderRequest)
    return ok(shape_of(ProviderTestItem, await service(ProviderAdmin).test(provider_id, wish.model)))


@blueprint.get(f"{PATH}/<provider_id>/models")
@provider_operation(
    "listProviderModels",
    "List a provider's models",
    description="The models that requests may name, or else those that the model server lists.",
    params=[_ID],
    answers={200: Answer("The models", ProviderModels, envelope="ApiResponseProviderModels")},
    errors={**_BOUND, **_NOT_FOUND},
)
async def list_models(provider_id: str) -> Response:
    caller().check_unbound()
    return ok(ProviderModels(list(await service(ProviderAdmin).models(provider_id))))
