"""From text to the terms of the full-text index: made here, for passages and questions alike, so that they agree.

- Letters are compared without case, diacritics and width: `Ｃafé`, `CAFE` and `café` are one term.
- Words of Latin letters lose English endings (Snowball). Other languages' words go through the same and keep agreeing
  with themselves.
- What is joined by a hyphen, dot or underscore gives its parts and the whole without the joints: `E-1042` is found as
  `E-1042`, `e1042` and `1042`.
- Scripts written without spaces (Chinese, Japanese, Thai and so on), and Korean, give every two neighbouring
  characters, and the last character of a run alone: a question of one character looks for terms that begin with it.
"""

import re
import unicodedata
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from snowballstemmer.english_stemmer import EnglishStemmer

MAX_TERM_CHARS: Final = 64
"""Longer words are cut: nobody asks for them, and PostgreSQL bounds its lexemes."""

# Ideographs, kana, hangul, bopomofo; Thai, Lao, Burmese, Khmer; the ideographs of the supplementary planes.
_DENSE: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30fa\u30fc-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_ASCII_PIECES: Final = re.compile(r"[a-z0-9]+(?:(?:['._\-]|(?<=\d),(?=\d))[a-z0-9]+)*")
_ONE_DENSE: Final = re.compile(f"[{_DENSE}]")
_JOINTS: Final = re.compile(r"[._\-,]")
_KANA_ONLY: Final = re.compile("[\u3040-\u309f\u30fc]+")
_SHORT_FORMS: Final = frozenset({"t", "re", "ve", "ll", "d", "m"})
_MAX_PARTS: Final = 8


# What takes tens of milliseconds to make is made for the first text, and not for every start.


@cache
def _pieces() -> re.Pattern[str]:
    """Runs of a dense script, and words with those that are joined to them."""
    marks = "".join(chr(code) for code in range(0x300, 0x1E00) if unicodedata.category(chr(code))[0] == "M")
    word = rf"[^\W_{_DENSE}]+(?:[{marks}]+[^\W_{_DENSE}]*)*"
    return re.compile(rf"[{_DENSE}]+|{word}(?:(?:['._\-]|(?<=\d),(?=\d)){word})*")


@cache
def _english() -> "EnglishStemmer":
    from snowballstemmer.english_stemmer import EnglishStemmer

    return EnglishStemmer()


def _folding() -> dict[int, str | None]:
    """What becomes of single characters: Latin, Greek and Cyrillic letters lose their marks, unseen ones go."""
    table: dict[int, str | None] = {}
    for code in (*range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2000)):
        bare = "".join(c for c in unicodedata.normalize("NFD", chr(code)) if not "\u0300" <= c <= "\u036f")
        if bare != chr(code):
            table[code] = bare
    table.update(zip(map(ord, "øłđðħıæœ"), ("o", "l", "d", "d", "h", "i", "ae", "oe"), strict=True))
    table.update(dict.fromkeys(range(0x300, 0x370), None))
    table.update(dict.fromkeys((0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF), None))
    table.update(dict.fromkeys((0x2018, 0x2019, 0x02BC), "'"))
    table.update(dict.fromkeys((0x2010, 0x2011), "-"))
    return table


_FOLDING: Final = _folding()
_FOLDED: Final = re.compile(f"[{re.escape(''.join(map(chr, _FOLDING)))}]")


def terms_of(text: str) -> list[str]:
    """The terms of a passage, in its order, as often as they are in it; they are free of spaces and upper case."""
    terms: list[str] = []
    for piece in _pieces_of(text):
        if _ONE_DENSE.match(piece):
            terms += [first + second for first, second in pairwise(piece)]
            terms.append(piece[-1])
        else:
            terms += _word_terms(piece)
    return terms


def question_terms(text: str) -> list[str]:
    """The terms that a question looks for, each once, in its order. For some see `is_beginning`."""
    terms: dict[str, None] = {}
    for piece in _pieces_of(text):
        if len(piece) > 1 and _ONE_DENSE.match(piece):
            terms.update((first + second, None) for first, second in pairwise(piece))
        else:
            terms.update(dict.fromkeys(_word_terms(piece)))
    return list(terms)


def is_beginning(term: str) -> bool:
    """Whether a question's term stands for every term that begins with it: one character of a dense script."""
    return len(term) == 1 and _ONE_DENSE.match(term) is not None


def is_light(term: str) -> bool:
    """Whether a term says little of what a text is about, in whatever text: `the`, `what`, 的, です."""
    if term in _light_words():
        return True
    if len(term) > 2 or term.isascii():
        return False
    return not _LIGHT_CHARACTERS.isdisjoint(term) or _KANA_ONLY.fullmatch(term) is not None


def _pieces_of(text: str) -> list[str]:
    """Runs of a dense script, and words with those that are joined to them."""
    if text.isascii():
        return _ASCII_PIECES.findall(text.lower())
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    return _pieces().findall(_FOLDED.sub(lambda match: _FOLDING[ord(match[0])] or "", text.casefold()))


@lru_cache(maxsize=100_000)
def _word_terms(piece: str) -> tuple[str, ...]:
    """The terms of a word, or of words that are joined."""
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
    before, _, after = word.partition("'")
    if after == "s":
        return before
    if after in _SHORT_FORMS or len(before) > 2:
        return before + after.replace("'", "")
    return after.replace("'", "")


def _stem(word: str) -> str:
    if len(word) > 3 and word.isascii() and word.isalpha():
        word = _english().stemWord(word)
    return word[:MAX_TERM_CHARS]


_LIGHT_CHARACTERS: Final = frozenset("的了吗呢吧啊么是在和与及或请")
_LIGHT_TEXT: Final = """
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
def _light_words() -> frozenset[str]:
    return frozenset(question_terms(_LIGHT_TEXT))
