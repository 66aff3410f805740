"""`python -m bench.retrieval`: how often the search finds the passage that was asked for, by words and by vectors.

Fails when words alone have the right passage among the first three for less than 85 questions in a hundred.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.retrieval import server
from bench.retrieval.evaluate import Asked, Relevance, places, quality, relevance
from bench.retrieval.library import Embeddings, Library, library
from bench.retrieval.questions import Kind, Question, read_corpus, read_questions
from bench.retrieval.vectors import vector_places

ENOUGH = 0.85
_LANGUAGES = {"en": "English", "zh": "Chinese", None: "both"}


def say(text: str = "") -> None:
    print(text, flush=True)


def _head(questions: Sequence[Question], passages: int) -> None:
    kinds = [question.kind for question in questions]
    said = ", ".join(
        f"{kinds.count(kind)} {what}"
        for kind, what in (
            (Kind.ANSWERED, "questions with an answer"),
            (Kind.NEAR, "that ask for more than is there"),
            (Kind.OTHER, "about other things"),
        )
    )
    say(f"{passages} passages; {said}")
    say(f"{'':<34}{'questions':>10}{'recall@1':>10}{'recall@3':>10}{'MRR':>10}")


def _table(what: str, asked: Sequence[Asked]) -> float:
    """Prints its lines. The recall at 3 of both languages together."""
    for lang, name in _LANGUAGES.items():
        found = quality(asked, lang)
        figures = (found.recall_1, found.recall_3, found.reciprocal_rank)
        say(f"{what + ', ' + name:<34}{found.questions:>10}" + "".join(f"{figure:>10.3f}" for figure in figures))
    return quality(asked).recall_3


def _relevance(what: str, found: Relevance) -> None:
    say(
        f"{what}, relevant_only: nothing for {found.silent:.0%} of the questions about other things",
    )
    say(f"  and for {found.near:.0%} of those that ask for more than is there; {found.lost:.1%} of the answers lost")


def _misses(asked: Sequence[Asked]) -> None:
    for each in asked:
        if not 1 <= each.place <= 3:
            say(f"  {each.question.id}  {each.place or '-':>2}  {each.question.question}")


@asynccontextmanager
async def _embeddings(options: argparse.Namespace, folder: Path) -> AsyncIterator[Embeddings | None]:
    if options.embeddings:
        yield Embeddings(options.embeddings, options.model, options.key)
    elif server.is_there():
        async with server.local_embeddings(folder) as local:
            yield local
    else:
        yield None


async def _with_vectors(
    shelf: Library, questions: Sequence[Question], embeddings: Embeddings, options: argparse.Namespace
) -> None:
    _table("vectors alone", await vector_places(shelf, questions, embeddings))
    fused = await places(shelf, questions)
    _table("fused", fused)
    _relevance("fused", await relevance(shelf, questions))
    if options.misses:
        _misses(fused)


async def _measure(options: argparse.Namespace, folder: Path) -> float:
    texts, questions = read_corpus(), read_questions()
    async with library(folder / "words.db", texts) as shelf:
        _head(questions, shelf.passages)
        asked = await places(shelf, questions)
        recall = _table("full text alone", asked)
        _relevance("full text alone", await relevance(shelf, questions))
        if options.misses:
            _misses(asked)
    async with _embeddings(options, folder) as embeddings:
        if embeddings is None:
            say(f"vectors: {server.NAME} is {server.NOT_THERE}")
            return recall
        say()
        say(f"with the embeddings of {options.model if options.embeddings else server.NAME}:")
        async with library(folder / "vectors.db", texts, embeddings) as shelf:
            await _with_vectors(shelf, questions, embeddings, options)
    return recall


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description=__doc__)
    parser.add_argument("--embeddings", metavar="URL", help="a server of OpenAI's /embeddings to ask instead")
    parser.add_argument("--model", default="embedding", help="the embedding model to ask it for")
    parser.add_argument("--key", default="none", help="its API key")
    parser.add_argument(
        "--misses", action="store_true", help="list the questions whose answer is not among the first 3"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palaver-retrieval-", ignore_cleanup_errors=True) as name:
        recall = asyncio.run(_measure(options, Path(name)))
    if recall < ENOUGH:
        say(f"FAIL: full text alone has a recall at 3 of {recall:.3f}, less than {ENOUGH}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
