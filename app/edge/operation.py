"""A view's `Operation`: who may call it, its parameters, its body and its answers.

The guard reads the scope from it, so a route without an operation is closed. The OpenAPI document is generated from it
alone, so the two cannot disagree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Literal, TypeVar

from app.errors import AppError

PUBLIC: Final = "public"
ANY_KEY: Final = "any"
"""The scope of a route that every key may call."""

Schema = Mapping[str, Any]
View = TypeVar("View", bound=Callable[..., Any])
_ATTRIBUTE: Final = "palaver_operation"


@dataclass(frozen=True, slots=True)
class Param:
    """One query, header or path parameter; `schema` is JSON Schema."""

    name: str
    description: str
    schema: Schema
    where: Literal["query", "header", "path"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """A request body: a msgspec type or a JSON Schema, with named examples.

    `other_media_types` are further media types, with the schema of each.
    """

    schema: type | Schema
    examples: Mapping[str, Any] = field(default_factory=dict)
    media_type: str = "application/json"
    required: bool = True
    other_media_types: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. With `envelope`, `schema` is the schema of `data` and `envelope` is the component's name.

    Without `example`, a struct's is made from its fields (app.edge.schemas.example_of). `other_media_types` are further
    media types of the same body; `*/*` is any. `stream` is the same answer to a request for a stream.
    """

    description: str
    schema: type | Schema | None = None
    example: Any = None
    envelope: str | None = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    other_media_types: Sequence[str] = ()
    stream: "Answer | None" = None


def empty(description: str, **data: Any) -> Answer:
    """The Open API's envelope around `data`, an object without declared members."""
    return Answer(description, {"type": "object", "additionalProperties": True}, data, envelope="ApiResponseEmpty")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error status of an operation: an example of its message, and all codes it is sent with, the example's first.

    The edge adds the codes that are the same wherever they occur: those of keys, of JSON bodies, of idempotency keys.
    """

    message: str
    codes: tuple[str, ...]


def refusal(message: str, code: str, *others: str) -> Refusal:
    """Make a Refusal with at least one code."""
    return Refusal(message, tuple(dict.fromkeys((code, *others))))


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """The form of a door's errors: the component `name`, its schema, and the door's envelope around an error.

    `code_of` is the code that programs see in it, None in a door without codes.
    """

    name: str
    schema: Schema
    envelope: Callable[[AppError, str], Mapping[str, Any]]
    code_of: Callable[[AppError], str | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; `errors` are its error statuses.

    As a decorator it declares the view's operation, and stands below the blueprint's own. `error_shape` None is the
    Open API's envelope.
    """

    id: str
    summary: str
    _: KW_ONLY
    scope: str
    description: str
    answers: Mapping[int, Answer]
    errors: Mapping[int, Refusal] = field(default_factory=dict)
    params: Sequence[Param] = ()
    body: Body | None = None
    tag: str = "Open API"
    error_shape: ErrorShape | None = None

    def __call__(self, view: View) -> View:
        view.__dict__[_ATTRIBUTE] = self
        return view


operation = Operation
"""`Operation` under the name by which it decorates views."""

UNAVAILABLE: Final = {
    503: refusal("The database is not available at the moment; nothing was changed", "database_unavailable")
}
IDEMPOTENCY_KEY: Final = Param(
    "Idempotency-Key",
    "A repeat with the same key and body, within 24 hours, is answered with what came of the first request.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~][ -~]*$"},
    where="header",
)


def operation_of(view: Callable[..., Any] | None) -> Operation | None:
    """The view's operation, if it declares one."""
    operation = getattr(view, _ATTRIBUTE, None)
    return operation if isinstance(operation, Operation) else None
