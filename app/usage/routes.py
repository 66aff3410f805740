"""`GET /api/v1/usage` and `GET /api/v1/prices`."""

import csv
import io
import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.clock import utc_now
from app.edge.operation import ANY_KEY, Answer, Param, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example, example_of
from app.edge.services import service
from app.errors import BadRequest
from app.usage.service import UsageService
from app.usage.store import GROUPS, UsageFilter, UsageSum

blueprint = Blueprint("usage", __name__)

DEFAULT_DAYS = 30
MAX_DAYS = 3660
Tokens = Annotated[int, example(1200)]


class UsageItem(msgspec.Struct, kw_only=True):
    """What the replies of one group used; the groups are those that were asked for."""

    day: Annotated[str | UnsetType, Meta(description="The day in UTC."), example("2026-11-28")] = UNSET
    model: Annotated[str | UnsetType, example("gpt-4.1-mini")] = UNSET
    provider: Annotated[str | UnsetType, example("openai_chat_completion")] = UNSET
    key: Annotated[str | UnsetType, Meta(description="The key's id.")] = UNSET
    user: Annotated[str | UnsetType, Meta(description="The user.")] = UNSET
    requests: Annotated[int, Meta(description="Replies that are over."), example(12)]
    failures: Annotated[int, Meta(description="Those that failed or were interrupted."), example(1)]
    failures_by_cause: Annotated[
        dict[str, int], Meta(description="Their number by the code of the failure."), example({"upstream_error": 1})
    ]
    input_tokens: Annotated[Tokens, Meta(description="Tokens of prompts, cached ones included.")]
    cached_tokens: Annotated[Tokens, Meta(description="Those of them that were in the model server's cache.")]
    output_tokens: Annotated[Tokens, Meta(description="Tokens of replies.")]
    cost: Annotated[float, Meta(description="By the prices of the settings, in their currency."), example(0.0024)]
    first_token_ms_p50: Annotated[
        int | None, Meta(description="Half of the replies began within so many milliseconds."), example(420)
    ]
    embeddings: Annotated[int, Meta(description="Answers with embeddings, which are no replies."), example(3)]
    embedding_tokens: Annotated[int, Meta(description="The tokens of the texts in them."), example(900)]
    embedding_cost: Annotated[float, Meta(description="Their cost, which is not in `cost`."), example(0.00002)]


class UsageSums(msgspec.Struct):
    """Sums of usage, sorted by their groups."""

    rows: Annotated[list[UsageItem], Meta(description="A row for each group.")]


class PriceItem(msgspec.Struct):
    """The price of a million tokens."""

    name: Annotated[str, Meta(description="A model, `<provider>/<model>`, or a pattern."), example("gpt-4.1-mini")]
    input: Annotated[float, Meta(description="Of prompts."), example(0.4)]
    cached: Annotated[float | None, Meta(description="Of cached prompts; null, as the others."), example(0.1)]
    output: Annotated[float, Meta(description="Of replies."), example(1.6)]


class PriceList(msgspec.Struct):
    prices: Annotated[list[PriceItem], Meta(description="The prices, in the order of the settings.")]


_DAY = {"type": "string", "format": "date"}


@blueprint.get("/api/v1/usage")
@operation(
    "getUsage",
    "Get usage",
    scope=ANY_KEY,
    tag="Management",
    description="What the replies that ended on these days (UTC) used, summed up by groups. With the scope `admin` it "
    "is that of all keys, otherwise the caller's own; a caller bound to a username sees that user's. It adds up with "
    "the runs to the token; embeddings stand beside it. Without `from` and `to` it is the last 30 days.",
    params=[
        Param("from", "The first day.", _DAY),
        Param("to", "The last day.", _DAY),
        Param("group_by", f"Of {', '.join(GROUPS)}, separated by commas; without it, one row.", {"type": "string"}),
        Param("key_id", "Only this key.", {"type": "string"}),
        Param("username", "Only this user.", {"type": "string"}),
        Param("format", "`json` or `csv`.", {"type": "string", "enum": ["json", "csv"], "default": "json"}),
    ],
    answers={
        200: Answer(
            "The sums",
            UsageSums,
            {"rows": [example_of(UsageItem)]},
            envelope="ApiResponseUsage",
            other_media_types=["text/csv"],
        )
    },
    errors={400: refusal("from must be a day like 2026-11-28", "invalid_usage_query")},
)
async def get_usage() -> Response:
    today = utc_now().date()
    last = _day("to", today)
    first = _day("from", last - timedelta(days=DEFAULT_DAYS - 1))
    if not 0 <= (last - first).days < MAX_DAYS:
        raise BadRequest(f"from and to must be at most {MAX_DAYS} days apart", code="invalid_usage_query")
    groups = [group.strip() for group in request.args.get("group_by", "").split(",") if group.strip()]
    if unknown := [group for group in groups if group not in GROUPS]:
        raise BadRequest(f"group_by: {unknown[0][:64]} is none of {', '.join(GROUPS)}", code="invalid_usage_query")
    kind = request.args.get("format", "json")
    if kind not in ("json", "csv"):
        raise BadRequest("format must be json or csv", code="invalid_usage_query")
    which = UsageFilter(
        first=first, last=last, key_id=request.args.get("key_id"), username=request.args.get("username")
    )
    groups = list(dict.fromkeys(groups))
    rows = await service(UsageService).sum_usage(caller(), which, groups)
    if kind == "csv":
        return Response(_csv(rows, groups), content_type="text/csv; charset=utf-8")
    return ok(UsageSums([_item(row) for row in rows]))


@blueprint.get("/api/v1/prices")
@operation(
    "listPrices",
    "List prices",
    scope=Scope.ADMIN,
    tag="Management",
    description="The prices of models, as `palaver.toml` has them.",
    answers={
        200: Answer("The prices", PriceList, {"prices": [example_of(PriceItem)]}, envelope="ApiResponsePriceList")
    },
)
async def list_prices() -> Response:
    prices = service(UsageService).prices.prices
    return ok(PriceList([PriceItem(name, each.input, each.cached, each.output) for name, each in prices.items()]))


def _day(name: str, default: date) -> date:
    """Read a day of the query. Raises BadRequest."""
    text = request.args.get(name)
    if text is None:
        return default
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{name} must be a day like 2026-11-28", code="invalid_usage_query") from None


def _item(row: UsageSum) -> UsageItem:
    return msgspec.convert({**row.groups, **_numbers(row)}, UsageItem)


def _numbers(row: UsageSum) -> dict[str, Any]:
    return {name: getattr(row, name) for name in UsageSum.__struct_fields__ if name != "groups"}


def _csv(rows: Sequence[UsageSum], groups: Sequence[str]) -> str:
    """Write rows as CSV; no cell begins as a formula does, which a spreadsheet would carry out."""
    text = io.StringIO()
    names = [name for name in UsageSum.__struct_fields__ if name not in ("groups", "failures_by_cause")]
    writer = csv.writer(text)
    writer.writerow([*groups, *names])
    for row in rows:
        numbers = _numbers(row)
        writer.writerow([*map(_cell, row.groups.values()), *(numbers[name] for name in names)])
    return text.getvalue()


def _cell(value: str) -> str:
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
