"""Parameters that Palaver adds on its own, and that some models refuse."""

from collections.abc import Iterable

from openai import APIStatusError

STREAM_OPTIONS = "stream_options"
MAX_MODELS = 1_000
NO_NAMES: frozenset[str] = frozenset()


class UnsupportedParams:
    """What each model of a server does not support; a model is known by its name, which callers choose."""

    def __init__(self) -> None:
        self.by_model: dict[str, frozenset[str]] = {}

    def add(self, model: str, names: frozenset[str]) -> None:
        if len(self.by_model) >= MAX_MODELS:
            del self.by_model[next(iter(self.by_model))]
        self.by_model[model] = self.by_model.get(model, NO_NAMES) | names


def refused_params(error: APIStatusError, candidates: Iterable[str]) -> frozenset[str]:
    """The candidates that a refusal of the request names, as `param` or in words.

    Nobody asked for them, so that a try without them costs no one anything.
    """
    if error.status_code not in (400, 422):
        return NO_NAMES
    text = _squeeze(error.response.text)
    return frozenset(name for name in candidates if _squeeze(name) in text)


def _squeeze(text: str) -> str:
    """Spell names as one word: `max_tokens`, `maxTokens` and `max tokens` are one."""
    return text.lower().replace("_", "").replace(" ", "")
