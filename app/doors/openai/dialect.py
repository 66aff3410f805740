"""OpenAI's own dialect of the chunks."""

from app.completions.chunks import Dialect
from app.completions.errors import CompletionFailed, openai_error

OPENAI = Dialect(
    "openai",
    defaults=lambda run: {"model": run.model},
    failure=lambda failure: openai_error(CompletionFailed(failure), ""),
)
