"""From a document's text to its passages."""

from app.knowledge.models import Draft


def split(text: str, *, size: int = 800, overlap: int = 100) -> list[Draft]:
    """The passages of a Markdown text: at most `size` characters each, of which `overlap` repeat the one before."""
    pieces = (text[start : start + size].strip() for start in range(0, len(text), max(size - overlap, 1)))
    return [Draft(position, "", piece) for position, piece in enumerate(piece for piece in pieces if piece)]
