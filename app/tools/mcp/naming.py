"""The names by which models call the tools of MCP servers."""

import re
from collections import Counter
from collections.abc import Container, Sequence
from hashlib import sha256

from app.tools.models import MAX_NAME_CHARS

_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_CHARS = 8


def tool_names(server: str, tools: Sequence[str], reserved: Container[str] = ()) -> list[str]:
    """Return `<server>_<tool>` for each tool, of at most 64 characters of A-Z, a-z, 0-9, _ and -.

    A name that had to be cut, that two tools would share, or that is reserved ends with a digest of the tool's own
    name: it depends on nothing else, and stays the same however the list is ordered.
    """
    plain = [f"{server}_{_FOREIGN.sub('_', tool)}" for tool in tools]
    counts = Counter(plain)

    def name_of(tool: str, name: str) -> str:
        is_altered = name != f"{server}_{tool}"
        if len(name) <= MAX_NAME_CHARS and name not in reserved and not (counts[name] > 1 and is_altered):
            return name
        digest = sha256(f"{server}\0{tool}".encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
        return f"{name[: MAX_NAME_CHARS - _DIGEST_CHARS - 1]}_{digest}"

    return [name_of(tool, name) for tool, name in zip(tools, plain, strict=True)]
