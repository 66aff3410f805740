"""The ways in which a call to a platform can fail.

An adapter raises one of these from `deliver`; the outbox decides what follows. What matters is whether the platform may
have taken the message: only `Unknown` leaves that open.
"""

from typing import Literal

from app.errors import AppError

Scope = Literal["target", "bot"]


class DeliveryError(AppError):
    """A message that was not delivered; `message` is safe for the caller, and `platform_code` the platform's own."""

    status = 502
    code = "delivery_failed"

    def __init__(self, message: str, *, platform_code: str | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.platform_code = platform_code


class Refused(DeliveryError):
    """The platform will not take this message. With `formatting`, it may take the same text without formatting."""

    def __init__(
        self, message: str, *, platform_code: str | None = None, code: str | None = None, formatting: bool = False
    ) -> None:
        super().__init__(message, platform_code=platform_code, code=code)
        self.formatting = formatting


class TargetGone(Refused):
    """The bot can no longer write to this chat: it was blocked or removed, or the chat does not exist."""


class EditImpossible(Refused):
    """The message to be edited is gone or too old; the text can be sent as a new message."""


class RateLimited(DeliveryError):
    """The platform asks to wait `after` seconds, before messages to this chat or of this whole bot."""

    def __init__(
        self, message: str, *, after: float, scope: Scope = "target", platform_code: str | None = None
    ) -> None:
        super().__init__(message, platform_code=platform_code)
        self.after = after
        self.scope = scope


class Unauthorized(DeliveryError):
    """The platform does not accept the bot's credentials. Raised when a fresh token was refused, too."""


class NotSent(DeliveryError):
    """The platform has certainly not taken the message; another try may succeed."""


class Unknown(DeliveryError):
    """The platform may have taken the message: the request was written, and no clear answer came."""

    status = 504
    code = "delivery_timeout"
