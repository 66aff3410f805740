"""`/api/v1/approvals`: the calls of tools, of all runs, that wait for a yes or no or have had one."""

from typing import Annotated, cast

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.chat.approvals import Approvals, ApprovalState, ListedApproval
from app.chat.fields import MAX_NAME_CHARS
from app.doors.open_api.chat_routes import chat_operation
from app.doors.open_api.requests import parse_username
from app.doors.open_api.schemas import RunApproval
from app.doors.open_api.session_routes import USERNAME_CODES
from app.edge.operation import Answer, Param, refusal
from app.edge.paging import CURSOR, LIMIT, cursor_of, limit_in, place_in
from app.edge.responses import ok
from app.edge.schemas import example
from app.edge.services import service
from app.errors import BadRequest

blueprint = Blueprint("approvals", __name__)

STATES = ("waiting", "approved", "denied", "expired")


class ApprovalItem(RunApproval, kw_only=True):
    """An approval, and the run that it belongs to."""

    run_id: Annotated[str, example("77a3db30-4c5c-4bb7-8d4c-3f6f6a3cf0c8")]
    session_id: Annotated[str | None, Meta(description="The run's session; null for one without."), example("s1")]
    username: Annotated[str, Meta(description="Whose run it is."), example("alice")]

    @classmethod
    def of_listed(cls, listed: ListedApproval) -> "ApprovalItem":
        members = msgspec.structs.asdict(RunApproval.of(listed.approval))
        return cls(**members, run_id=listed.approval.run_id, session_id=listed.session_id, username=listed.username)


class ApprovalPage(msgspec.Struct):
    """One page of approvals, the newest first."""

    approvals: Annotated[list[ApprovalItem], Meta(description="The approvals, the newest first.")]
    next_cursor: str | None


@blueprint.get("/api/v1/approvals")
@chat_operation(
    "listAllApprovals",
    "List approvals",
    description=(
        "The calls of tools in a user's runs that wait for a yes or no, and those that have had one. Without "
        "`username` they are those of the key's own user, or with the scope `admin` everyone's. Decide with "
        "`POST /api/v1/chat/runs/{run_id}/approvals`."
    ),
    params=[
        Param("username", "Whose runs.", {"type": "string", "maxLength": MAX_NAME_CHARS}),
        Param("state", "Only those in this state.", {"type": "string", "enum": list(STATES)}),
        CURSOR,
        LIMIT,
    ],
    answers={200: Answer("One page", ApprovalPage, envelope="ApiResponseApprovals")},
    errors={
        400: refusal(
            "state must be waiting, approved, denied or expired",
            "invalid_state",
            "invalid_cursor",
            "invalid_limit",
            *USERNAME_CODES,
        ),
        403: refusal("The API key is bound to another username", "username_not_allowed"),
    },
)
async def list_all_approvals() -> Response:
    args, limit = request.args, limit_in(request.args)
    state = args.get("state") or None
    if state not in (None, *STATES):
        raise BadRequest("state must be waiting, approved, denied or expired", code="invalid_state")
    listed = await service(Approvals).list_approvals(
        caller(),
        username=parse_username(args["username"]) if "username" in args else None,
        state=cast("ApprovalState | None", state),
        before=place_in(args),
        limit=limit + 1,
    )
    page = [each.approval for each in listed[:limit]]
    next_cursor = cursor_of(page[-1].created_at, page[-1].id) if len(listed) > limit else None
    return ok(ApprovalPage([ApprovalItem.of_listed(each) for each in listed[:limit]], next_cursor))
