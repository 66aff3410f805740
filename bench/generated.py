"""Text that nobody wrote: words of a made-up vocabulary, as often as Zipf's law has it, in English letters or Chinese.

The same seed gives the same text. The Chinese has about as many different pairs of neighbouring characters as the
Chinese documents of bench/retrieval, which is what its full-text index costs by.
"""

import random
from collections.abc import Sequence
from itertools import accumulate

ENGLISH_WORDS, CHINESE_WORDS = 30_000, 15_000
_CONSONANTS = ("b", "br", "c", "ch", "d", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v")
_VOWELS = ("a", "e", "i", "o", "u", "ea", "ou")
_ENDS = ("", "", "n", "r", "s", "t", "nd", "ll")
_FIRST_CHARACTER, _CHARACTERS = 0x4E00, 2_500


class Language:
    """A vocabulary, how its words are joined, and how its sentences end."""

    def __init__(self, words: Sequence[str], space: str, comma: str, stop: str) -> None:
        self._words = words
        self._space = space
        self._comma = comma
        self._stop = stop
        self._weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))

    def words(self, source: random.Random, count: int) -> list[str]:
        """Some words, frequent ones more often."""
        return source.choices(self._words, cum_weights=self._weights, k=count)

    def _sentence(self, source: random.Random) -> str:
        """One to four clauses of two to seven words."""
        clauses = (self.words(source, source.randint(2, 7)) for _ in range(source.randint(1, 4)))
        return self._comma.join(map(self._space.join, clauses)) + self._stop

    def passage(self, source: random.Random, characters: int) -> str:
        """Sentences, up to about that many characters."""
        sentences: list[str] = []
        length = 0
        while length < characters - 60:
            sentence = self._sentence(source)
            sentences.append(sentence)
            length += len(sentence) + 1
        return self._space.join(sentences)[:characters]

    def document(self, source: random.Random, passages: int) -> str:
        """A Markdown text of that many sections, each of which makes one passage."""
        return "\n\n".join(
            f"## {self._space.join(self.words(source, 3))} {number}\n\n{self.passage(source, source.randint(300, 790))}"
            for number in range(passages)
        )

    def question(self, source: random.Random) -> str:
        """Three to eight words, half of them frequent ones."""
        count = source.randint(3, 8)
        rare = source.choices(self._words, k=count // 2)
        return self._space.join([*self.words(source, count - len(rare)), *rare])


def english(seed: int = 1) -> Language:
    source = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < ENGLISH_WORDS:
        # The more frequent a word, the shorter.
        syllables = 1 + (len(words) > 100) + (len(words) > 3_000)
        parts = [source.choice(_CONSONANTS) + source.choice(_VOWELS) + source.choice(_ENDS) for _ in range(syllables)]
        words["".join(parts)] = None
    return Language(list(words), " ", ", ", ".")


def chinese(seed: int = 2) -> Language:
    source = random.Random(seed)
    characters = [chr(_FIRST_CHARACTER + 5 * rank) for rank in range(_CHARACTERS)]
    weights = list(accumulate(1 / rank for rank in range(10, _CHARACTERS + 10)))
    words: dict[str, None] = {}
    while len(words) < CHINESE_WORDS:
        length = 1 if len(words) < 100 else source.choice((2, 2, 2, 3))
        words["".join(source.choices(characters, cum_weights=weights, k=length))] = None
    return Language(list(words), "", "，", "。")
