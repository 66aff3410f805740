"""`/api/v1/chat/search`: words in a user's messages and titles."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.chat.fields import check_name
from app.chat.search.models import FoundMessage
from app.chat.search.service import SearchService
from app.doors.open_api.chat_routes import chat_operation
from app.doors.open_api.requests import parse_username
from app.doors.open_api.schemas import ChatMessage, ChatSessionItem
from app.doors.open_api.session_routes import USERNAME, USERNAME_CODES
from app.edge.operation import Answer, Param, refusal
from app.edge.paging import NUMBER_CURSOR, limit_in, number_in
from app.edge.responses import ok
from app.edge.schemas import example
from app.edge.services import service
from app.errors import BadRequest
from app.text import NAME_PATTERN

blueprint = Blueprint("search", __name__)

MAX_QUERY_CHARS = 500


class FoundMessageItem(msgspec.Struct):
    """A message with all words of the query."""

    session_id: Annotated[str, example("s1")]
    display_name: Annotated[str | None, example("Plans for the garden")]
    snippet: Annotated[str, Meta(description="The text around the first of the words."), example("What grows …")]
    score: Annotated[float, Meta(ge=0, le=1, description="How much of the text the words are."), example(0.5)]
    message: Annotated[ChatMessage, Meta(description="The message.")]

    @classmethod
    def of(cls, found: FoundMessage) -> "FoundMessageItem":
        message = ChatMessage.of(found.message)
        return cls(found.message.session_id, found.display_name, found.snippet, found.score, message)


class SearchResult(msgspec.Struct):
    """What was found."""

    messages: Annotated[list[FoundMessageItem], Meta(description="The messages, the newest first.")]
    sessions: Annotated[
        list[ChatSessionItem], Meta(description="On the first page, sessions whose title contains the query.")
    ]
    complete: Annotated[
        bool, Meta(description="false while older messages are being indexed: ask again."), example(True)
    ]
    next_cursor: str | None = None


@blueprint.get("/api/v1/chat/search")
@chat_operation(
    "searchMessages",
    "Search messages",
    description=(
        "The user's messages with all words of the query, of all branches, the newest first. Words are compared "
        "without case and endings, and Chinese and its like by pairs of characters. A user's first search indexes what "
        "there is, and may answer before that is done."
    ),
    params=[
        USERNAME,
        Param(
            "q",
            "The words.",
            {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_CHARS, "pattern": NAME_PATTERN},
            required=True,
        ),
        NUMBER_CURSOR,
        Param("limit", "Held to 1..100.", {"type": "integer", "default": 20}),
    ],
    answers={200: Answer("What was found", SearchResult, envelope="ApiResponseSearchResult")},
    errors={
        400: refusal("Missing key: q", "missing_key", "invalid_q", "invalid_cursor", "invalid_limit", *USERNAME_CODES),
        403: refusal("The API key is bound to another username", "username_not_allowed"),
    },
)
async def search() -> Response:
    username = parse_username(request.args.get("username"))
    words = request.args.get("q", "").strip()
    if not words:
        raise BadRequest("Missing key: q", code="missing_key")
    check_name("q", words, MAX_QUERY_CHARS)
    found = await service(SearchService).search(
        caller(),
        username,
        words,
        before=number_in(request.args, "cursor"),
        limit=limit_in(request.args, 20),
    )
    messages = [FoundMessageItem.of(each) for each in found.messages]
    sessions = [ChatSessionItem.of(session) for session in found.sessions]
    next_cursor = str(messages[-1].message.id) if found.has_more and messages else None
    return ok(SearchResult(messages, sessions, found.is_complete, next_cursor))
