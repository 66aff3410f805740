"""How this door's chunks differ from OpenAI's: each has a fingerprint and choices, whatever happens."""

import hashlib
from collections.abc import Mapping
from typing import Any

from app.chat.runs.events import Failed
from app.chat.values import Run
from app.completions.chunks import Dialect
from app.completions.errors import ReplyFailed, openai_error
from app.doors.second_me.errors import kernel2_error


def _defaults(run: Run) -> Mapping[str, Any]:
    """What Second Me's clients count on; the fingerprint is that of the provider's model."""
    fingerprint = hashlib.sha256(f"{run.provider_id}\0{run.model}".encode()).hexdigest()[:10]
    return {"model": run.model, "system_fingerprint": f"fp_{fingerprint}"}


def _failure(failed: Failed) -> Mapping[str, Any]:
    """This door's envelope, and OpenAI's for its clients. The rest is a chunk that says nothing, so that programs
    which look for choices in all there is, as Second Me's documented one does, come to the end."""
    error = ReplyFailed(failed)
    return {**kernel2_error(error, ""), **openai_error(error, "")}


KERNEL2 = Dialect("kernel2", _defaults, _failure, only_chunks=True)
