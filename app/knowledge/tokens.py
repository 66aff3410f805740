"""The terms of the full-text index: of passages and of queries, by the same rules.

- Letters are compared without case, diacritics and width: `Ｃafé`, `CAFE` and `café` are one term.
- Words of Latin letters lose English endings (Snowball). Words of other languages are stemmed by the same rules, which
  is harmless, as they are the same on both sides.
- Words joined by a hyphen, dot or underscore yield their parts, and the whole without the joints: `E-1042` is found as
  `E-1042`, `e1042` and `1042`.
- Scripts without spaces (Chinese, Japanese, Thai and so on), and Korean, yield every pair of neighbouring characters,
  and the last character of a run. A query of one character looks for the terms that begin with it.
"""

import re
import unicodedata
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from snowballstemmer.english_stemmer import EnglishStemmer

MAX_TERM_CHARS: Final = 64
"""Longer words are cut, as PostgreSQL bounds its lexemes."""

# Ideographs, kana, hangul, bopomofo; Thai, Lao, Burmese, Khmer; the ideographs of the supplementary planes.
_UNSEGMENTED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30fa\u30fc-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_ASCII_PIECES: Final = re.compile(r"[a-z0-9]+(?:(?:['._\-]|(?<=\d),(?=\d))[a-z0-9]+)*")
_UNSEGMENTED_CHARACTER: Final = re.compile(f"[{_UNSEGMENTED}]")
_JOINTS: Final = re.compile(r"[._\-,]")
_KANA_ONLY: Final = re.compile("[\u3040-\u309f\u30fc]+")
_SHORT_FORMS: Final = frozenset({"t", "re", "ve", "ll", "d", "m"})
_MAX_PARTS: Final = 8


# What takes tens of milliseconds to build is built for the first text, not at every start.


@cache
def _pieces() -> re.Pattern[str]:
    """The pattern of runs of an unsegmented script, and of words with the words joined to them."""
    marks = "".join(chr(code) for code in range(0x300, 0x1E00) if unicodedata.category(chr(code))[0] == "M")
    word = rf"[^\W_{_UNSEGMENTED}]+(?:[{marks}]+[^\W_{_UNSEGMENTED}]*)*"
    return re.compile(rf"[{_UNSEGMENTED}]+|{word}(?:(?:['._\-]|(?<=\d),(?=\d)){word})*")


@cache
def _english() -> "EnglishStemmer":
    from snowballstemmer.english_stemmer import EnglishStemmer

    return EnglishStemmer()


def _folding() -> dict[int, str | None]:
    """The replacements of single characters: letters without their marks, nothing for invisible characters."""
    table: dict[int, str | None] = {}
    for code in (*range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2000)):
        letter = "".join(c for c in unicodedata.normalize("NFD", chr(code)) if not "\u0300" <= c <= "\u036f")
        if letter != chr(code):
            table[code] = letter
    table.update(zip(map(ord, "øłđðħıæœ"), ("o", "l", "d", "d", "h", "i", "ae", "oe"), strict=True))
    table.update(dict.fromkeys(range(0x300, 0x370), None))
    table.update(dict.fromkeys((0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF), None))
    table.update(dict.fromkeys((0x2018, 0x2019, 0x02BC), "'"))
    table.update(dict.fromkeys((0x2010, 0x2011), "-"))
    return table


_FOLDING: Final = _folding()
_FOLDED: Final = re.compile(f"[{re.escape(''.join(map(chr, _FOLDING)))}]")


def terms_of(text: str) -> list[str]:
    """The terms of a passage, in its order and as often as it has them, without spaces and upper case."""
    terms: list[str] = []
    for piece in _pieces_of(text):
        if _UNSEGMENTED_CHARACTER.match(piece):
            terms += [first + second for first, second in pairwise(piece)]
            terms.append(piece[-1])
        else:
            terms += _word_terms(piece)
    return terms


def question_terms(text: str) -> list[str]:
    """The terms to look for, each once, in the question's order; `is_prefix` marks some of them."""
    terms: dict[str, None] = {}
    for piece in _pieces_of(text):
        if len(piece) > 1 and _UNSEGMENTED_CHARACTER.match(piece):
            terms.update((first + second, None) for first, second in pairwise(piece))
        else:
            terms.update(dict.fromkeys(_word_terms(piece)))
    return list(terms)


def is_prefix(term: str) -> bool:
    """Whether a question's term is a prefix to look for: one character of an unsegmented script."""
    return len(term) == 1 and _UNSEGMENTED_CHARACTER.match(term) is not None


def is_stopword(term: str) -> bool:
    """Whether a term says little about any text: `the`, `what`, 的, です."""
    if term in _stopwords():
        return True
    if len(term) > 2 or term.isascii():
        return False
    return not _STOP_CHARACTERS.isdisjoint(term) or _KANA_ONLY.fullmatch(term) is not None


def _pieces_of(text: str) -> list[str]:
    """Runs of an unsegmented script, and words with the words joined to them."""
    if text.isascii():
        return _ASCII_PIECES.findall(text.lower())
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    return _pieces().findall(_FOLDED.sub(lambda match: _FOLDING[ord(match[0])] or "", text.casefold()))


@lru_cache(maxsize=100_000)
def _word_terms(piece: str) -> tuple[str, ...]:
    """The terms of a word, or of joined words."""
    if len(piece) > MAX_TERM_CHARS * 4:
        piece = piece[: MAX_TERM_CHARS * 4]
    parts = _JOINTS.split(piece)
    terms = [term for part in parts[:_MAX_PARTS] if (term := _stem(_without_apostrophe(part)))]
    if 1 < len(parts) <= _MAX_PARTS:
        terms.append(_stem("".join(map(_without_apostrophe, parts))))
    return tuple(terms)


def _without_apostrophe(word: str) -> str:
    """`engine's` is `engine`, `l'eau` is `eau`, `don't` is `dont`."""
    if "'" not in word:
        return word
    head, _, tail = word.partition("'")
    if tail == "s":
        return head
    if tail in _SHORT_FORMS or len(head) > 2:
        return head + tail.replace("'", "")
    return tail.replace("'", "")


def _stem(word: str) -> str:
    if len(word) > 3 and word.isascii() and word.isalpha():
        word = _english().stemWord(word)
    return word[:MAX_TERM_CHARS]


_STOP_CHARACTERS: Final = frozenset("的了吗呢吧啊么是在和与及或请")
_STOPWORDS: Final = """
    a about above after again all also am an and any are as at be because been before being below between both
    but by can could did do does doing don't down during each few for from further get gets had has have having
    he her here him his how i if in into is it its itself just me more most my no nor not of off on once only
    or other our out over own please same she should so some such tell than that the their them then there
    these they this those through to too under until up very was we were what when where which while who whom
    whose why will with would you your doesn't isn't der die das den dem des ein eine einen einem einer und
    oder ist sind war wie was wer wo wann warum welche welcher welches für mit von zu im auf an bei nicht es
    ich sie wir man kann wird werden le la les un une des du de et ou est sont était que qui quoi quel quelle
    quels quelles comment pourquoi où quand dans pour par sur avec ne pas il elle on nous vous ce cette ces el
    los las una y o es son que quien como cuando donde por para con del al en se su lo cual 什么 怎么 怎样 如何
    哪些 哪个 哪里 哪种 多少 几个 为什 为何 可以 能否 应该 这个 那个 这些 那些 一个 一种 我们 你们 他们 它们
    没有 以及 还是 或者 因为 所以 如果 但是 进行 需要 其中 对于 关于 有什 有哪 什 么 何 吗 的 是 です ます から
    まで した する 何 무엇 어떻 떻게 입니 니까 습니
    """


@cache
def _stopwords() -> frozenset[str]:
    return frozenset(question_terms(_STOPWORDS))
