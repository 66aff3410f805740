"""Parameters that Palaver adds on its own, and that some models refuse."""

from collections.abc import Iterable

from openai import APIStatusError

STREAM_OPTIONS = "stream_options"
MAX_MODELS = 1_000

_NONE: frozenset[str] = frozenset()


class UnsupportedParams:
    """What each model of a server does not support; a model is known by its name, which callers choose."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def of(self, model: str) -> frozenset[str]:
        return self._names.get(model, _NONE)

    def add(self, model: str, names: frozenset[str]) -> None:
        if len(self._names) >= MAX_MODELS:
            del self._names[next(iter(self._names))]
        self._names[model] = self.of(model) | names


def refused_params(error: APIStatusError, candidates: Iterable[str]) -> frozenset[str]:
    """The candidates that a refusal of the request names, as `param` or in words.

    Nobody asked for them, so that a try without them costs no one anything.
    """
    if error.status_code not in (400, 422):
        return _NONE
    text = _squeeze(error.response.text)
    return frozenset(name for name in candidates if _squeeze(name) in text)


def _squeeze(text: str) -> str:
    """Spell names as one word: `max_tokens`, `maxTokens` and `max tokens` are one."""
    return text.lower().replace("_", "").replace(" ", "")
