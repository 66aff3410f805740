"""Messages through bots on the wire."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.bots.outbox.models import Delivery, DeliveryState, FragmentState
from app.bots.umo import MAX_UMO_CHARS, UMO_PATTERN
from app.chat.schemas import MessageContent
from app.edge.schemas import DateTime, example, shape_of
from app.egress import MAX_URL_CHARS

DELIVERY_ID = "5f3c8e0a-4a52-4c39-9a0c-0d5d6f0f5a11"
_UMO = "telegram1:FriendMessage:42"
_State = Annotated[
    DeliveryState,
    Meta(
        description="`partial`: some of it was sent. `unknown`: it may have arrived. `dead`: refused or tried in "
        "vain. `expired`: its time was over."
    ),
    example("sent"),
]


class SendMessageRequest(msgspec.Struct):
    """A message to one place on one platform."""

    umo: Annotated[
        str,
        Meta(
            max_length=MAX_UMO_CHARS,
            pattern=UMO_PATTERN,
            description="Unified message origin. Format: platform:message_type:session_id",
        ),
    ]
    message: MessageContent
    delivery: Annotated[
        Literal["wait", "queue"],
        Meta(description="`wait` answers when the platform has taken the message, `queue` at once."),
    ] = "wait"
    callback: Annotated[
        Annotated[str, Meta(max_length=MAX_URL_CHARS)] | None,
        Meta(description="A URL to tell of the delivery's end, with a signed `POST`."),
    ] = None
    callback_secret: Annotated[
        str | None,
        Meta(description="`whsec_` and base64 of 24 to 64 bytes, to sign with. One is made and answered if left out."),
    ] = None


class SentMessage(msgspec.Struct):
    """A message that was sent, or is queued."""

    message_id: Annotated[
        str | None, Meta(description="The platform's id of the first fragment, if it gave one."), example("42")
    ]
    message_ids: Annotated[
        list[str], Meta(description="The platform's ids of all fragments, in their order."), example(["42"])
    ]
    delivery_id: Annotated[str, Meta(description="The delivery's id."), example(DELIVERY_ID)]
    state: _State
    umo: Annotated[str, Meta(description="Where it was sent to."), example(_UMO)]
    callback_secret: Annotated[
        str | UnsetType, Meta(description="What signs the callback, if the request had no secret of its own.")
    ] = UNSET


class FragmentItem(msgspec.Struct):
    """One visible call to the platform."""

    no: Annotated[int, Meta(description="Its place in the message, from 0."), example(0)]
    state: Annotated[FragmentState, Meta(description="`unknown`: the platform may have taken it."), example("sent")]
    platform_id: Annotated[str | None, Meta(description="The platform's id of the message."), example("42")]
    error: str | None


class DeliveryItem(msgspec.Struct):
    """A message on its way to a platform, or at its end."""

    delivery_id: Annotated[str, Meta(description="The delivery's id."), example(DELIVERY_ID)]
    umo: Annotated[str, Meta(description="Where it is sent to."), example(_UMO)]
    state: _State
    origin: Annotated[
        str, Meta(description="`api`: a request. `run`: a reply. `tool`: a model's call."), example("api")
    ]
    attempts: Annotated[int, Meta(description="How often its turn has come."), example(1)]
    fragments: list[FragmentItem]
    error_code: str | None
    error: str | None
    created_at: DateTime
    finished_at: DateTime | None


class DeliveryPage(msgspec.Struct):
    """A page of deliveries, the newest first."""

    deliveries: list[DeliveryItem]
    next_cursor: str | None


def item_of(delivery: Delivery) -> DeliveryItem:
    fragments = [shape_of(FragmentItem, fragment) for fragment in delivery.fragments]
    return shape_of(DeliveryItem, delivery, delivery_id=delivery.id, fragments=fragments)
