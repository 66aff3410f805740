"""What people think of messages: `.../messages/{message_id}/feedback`, and `/api/v1/feedback`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.chat.feedback import Feedback, FeedbackFilter, FeedbackService
from app.chat.fields import MAX_NAME_CHARS, check_name
from app.doors.open_api.chat_routes import BODY_ERRORS, chat_operation
from app.doors.open_api.requests import parse_username
from app.doors.open_api.session_routes import ERRORS, USERNAME_CODES
from app.doors.open_api.turn_routes import NOT_FOUND, USERNAME, username_of
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, refusal
from app.edge.paging import NUMBER_CURSOR, limit_in, number_in
from app.edge.responses import ok
from app.edge.schemas import DateTime, example, shape_of
from app.edge.services import service
from app.errors import BadRequest
from app.text import LINE_PATTERN, NAME_PATTERN

blueprint = Blueprint("feedback", __name__)

_SESSION = {"type": "string", "maxLength": MAX_NAME_CHARS, "pattern": LINE_PATTERN}

MAX_CONTENT_CHARS = 4_000
Rating = Literal["like", "dislike"] | None


class FeedbackRequest(msgspec.Struct):
    """An opinion, in the place of the user's earlier one; without both fields that one is taken back."""

    rating: Annotated[Rating, Meta(description="null says neither.")] = None
    content: Annotated[str | None, Meta(description=f"Some words; {MAX_CONTENT_CHARS} characters at most.")] = None
    username: Annotated[str | None, Meta(description="Whose opinion it is; also in the query.")] = None


class MessageFeedback(msgspec.Struct):
    """A user's opinion on a message, and the model that wrote it."""

    message_id: Annotated[int, example(2)]
    session_id: Annotated[str, example("s1")]
    username: Annotated[str, example("alice")]
    rating: Annotated[Rating, Meta(description="The opinion."), example("like")]
    content: Annotated[str, Meta(description="Some words."), example("To the point")]
    run_id: str | None
    model: Annotated[str | None, example("gpt-4.1-mini")]
    created_at: DateTime
    updated_at: DateTime

    @classmethod
    def of(cls, feedback: Feedback) -> "MessageFeedback":
        return shape_of(cls, feedback)


class GivenFeedback(msgspec.Struct):
    """The opinion."""

    feedback: Annotated[MessageFeedback | None, Meta(description="The opinion; null when it was taken back.")]


class FeedbackList(msgspec.Struct):
    """Opinions, and how many there are of each kind on all pages."""

    feedback: Annotated[list[MessageFeedback], Meta(description="The opinions, the newest first.")]
    likes: Annotated[int, Meta(description="How many like what they got."), example(1)]
    dislikes: Annotated[int, Meta(description="How many do not."), example(0)]
    next_cursor: str | None = None


@blueprint.post("/api/v1/chat/sessions/<session:session_id>/messages/<int:message_id>/feedback")
@chat_operation(
    "giveFeedback",
    "Say what you think of a message",
    description="Stores a user's opinion on a message, in the place of an earlier one.",
    params=[USERNAME],
    body=Body(FeedbackRequest, {"like": {"username": "alice", "rating": "like", "content": "To the point"}}),
    answers={200: Answer("The opinion", GivenFeedback, envelope="ApiResponseGivenFeedback")},
    errors={
        **ERRORS,
        **BODY_ERRORS,
        400: refusal("Missing key: username", *USERNAME_CODES, "invalid_request", "invalid_content"),
        404: NOT_FOUND,
    },
)
async def give_feedback(session_id: str, message_id: int) -> Response:
    body = await json_object()
    values = convert(body, FeedbackRequest)
    content = (values.content or "").strip()
    if len(content) > MAX_CONTENT_CHARS or "\0" in content:
        raise BadRequest(f"content has at most {MAX_CONTENT_CHARS} characters, and no NUL", code="invalid_content")
    feedback = await service(FeedbackService).give(
        caller(), username_of(body), session_id, message_id, values.rating, content
    )
    return ok(GivenFeedback(None if feedback is None else MessageFeedback.of(feedback)))


@blueprint.get("/api/v1/feedback")
@chat_operation(
    "listFeedback",
    "List what people think",
    description="A user's opinions; without `username`, and with the scope `admin`, everyone's.",
    params=[
        Param("username", "Whose opinions.", {"type": "string", "maxLength": MAX_NAME_CHARS, "pattern": NAME_PATTERN}),
        Param("session_id", "Only those on messages of this session.", _SESSION),
        Param("rating", "Only those of this kind.", {"type": "string", "enum": ["like", "dislike"]}),
        NUMBER_CURSOR,
        Param("limit", "Held to 1..100.", {"type": "integer", "default": 50}),
    ],
    answers={200: Answer("Opinions", FeedbackList, envelope="ApiResponseFeedback")},
    errors={
        400: refusal(
            "rating must be like or dislike",
            "invalid_rating",
            "invalid_cursor",
            "invalid_limit",
            "invalid_session_id",
            *USERNAME_CODES,
        ),
        403: refusal("The API key is bound to another username", "username_not_allowed"),
    },
)
async def list_feedback() -> Response:
    args = request.args
    username = parse_username(args["username"]) if "username" in args else None
    rating = args.get("rating") or None
    if rating not in (None, "like", "dislike"):
        raise BadRequest("rating must be like or dislike", code="invalid_rating")
    session_id = args.get("session_id") or None
    check_name("session_id", session_id or "")
    page = await service(FeedbackService).list_feedback(
        caller(),
        msgspec.convert({"username": username, "session_id": session_id, "rating": rating}, FeedbackFilter),
        before=number_in(args, "cursor"),
        limit=limit_in(args),
    )
    next_cursor = str(page.feedback[-1].id) if page.has_more else None
    items = [MessageFeedback.of(each) for each in page.feedback]
    return ok(FeedbackList(items, page.likes, page.dislikes, next_cursor))
