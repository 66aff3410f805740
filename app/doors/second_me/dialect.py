"""Second Me's dialect of OpenAI's chunks: all have a fingerprint and choices, failures included."""

import hashlib
from collections.abc import Mapping
from typing import Any

from app.chat.runs.events import Failed
from app.chat.values import Run
from app.completions.chunks import Dialect
from app.completions.errors import CompletionFailed, openai_error
from app.doors.second_me.errors import kernel2_error


def _defaults(run: Run) -> Mapping[str, Any]:
    """The model, and a fingerprint of the provider and the model."""
    fingerprint = hashlib.sha256(f"{run.provider_id}\0{run.model}".encode()).hexdigest()[:10]
    return {"model": run.model, "system_fingerprint": f"fp_{fingerprint}"}


def _failure(failure: Failed) -> Mapping[str, Any]:
    """This door's error envelope together with OpenAI's, for the clients of both."""
    error = CompletionFailed(failure)
    return {**kernel2_error(error, ""), **openai_error(error, "")}


# Second Me's documented client reads `choices[0]` of every event before `[DONE]`.
KERNEL2 = Dialect("kernel2", _defaults, _failure, choices_required=True)
