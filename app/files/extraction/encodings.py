"""The encoding of a text: by its marks, its zeros and what it declares, then by the letters that it would have.

Each candidate is weighed by the bits that its text would take, given how often people write its characters: the usual
encodings of the scripts only. With all that Python knows, short texts would be taken for rare ones.
"""

import codecs
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from app.files.extraction.letters import (
    ARABIC,
    CHINESE,
    CJK_SIGNS,
    COMMON_SIGNS,
    CYRILLIC,
    GREEK,
    HEBREW,
    JAPANESE,
    KOREAN,
    LATIN,
    THAI,
    THAI_MARKS,
)

SAMPLE_BYTES: Final = 64 * 1024
WEIGHED_BYTES: Final = 4096
DECLARATION_BYTES: Final = 2048
SURE_BITS: Final = 4.0
"""How much likelier than the next candidate, which reads another text, the best has to be."""
_BOMS: Final = (
    # The longer ones first: UTF-16's begins UTF-32's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS: Final = bytes({*range(32), 127} - set(b"\t\n\r\f\v\b\x1b"))
MAX_CONTROLS: Final = 0.005
_DECLARED: Final = re.compile(rb"(?:charset|encoding)\s{0,8}=\s{0,8}[\"']?([\w.:-]{2,32})", re.IGNORECASE)
# What is declared, and what is meant by it: as in the Encoding Standard of browsers.
_MEANT: Final = {
    "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949",
    "iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "tis-620": "cp874", "iso8859-11": "cp874",
}  # fmt: skip
_UNDECLARABLE: Final = frozenset(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-7"))
_ERROR_BITS: Final = 40.0
_RARE_BITS: Final = 14.0

Weigh = Callable[[str], float]


class NoText(ValueError):
    """The bytes are no text in any encoding."""


@dataclass(frozen=True, slots=True)
class Encoding:
    name: str
    is_sure: bool = True


def find_encoding(data: bytes, declared: str | None = None, *, is_cut: bool = False) -> Encoding:
    """The encoding of the text; `is_cut` says that these are its first bytes only. Raises NoText."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return Encoding(name)
    sample = data[:SAMPLE_BYTES]
    if b"\0" in sample:
        wide = _wide(sample)
        if wide is None:
            raise NoText
        return Encoding(wide)
    if (escaped := _escaped(sample)) is not None:
        return Encoding(escaped)
    if len(sample.translate(None, _CONTROLS)) < len(sample) * (1 - MAX_CONTROLS):
        raise NoText
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, not is_cut)
    except UnicodeDecodeError as error:
        # A stray byte in what is otherwise UTF-8, or a file that was cut within a character.
        if error.start > SAMPLE_BYTES or (error.start >= len(data) - 3 and not data[: error.start].isascii()):
            return Encoding("utf-8")
    else:
        return Encoding("utf-8")
    if declared is not None and data[:SAMPLE_BYTES].decode(declared, "replace").count("\ufffd") <= len(sample) // 2000:
        return Encoding(declared)
    return _weighed(data)


def declared_encoding(data: bytes) -> str | None:
    """The encoding that a page or an XML file declares, as Python names what is meant by it."""
    match = _DECLARED.search(data[:DECLARATION_BYTES])
    if match is None:
        return None
    try:
        name = codecs.lookup(match[1].decode().lower().removesuffix("-i")).name
        b"".decode(name)
    except (LookupError, UnicodeDecodeError):
        return None
    return None if name in _UNDECLARABLE else _MEANT.get(name, name)


def _wide(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: the zeros lie in the same places, and what they make are characters."""
    best, least = None, 0.15
    for name, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        text = sample[: len(sample) // width * width].decode(name, "replace")
        odd = sum(1 for character in text if _is_odd(character))
        # Line ends, tabs and blanks in the other byte order.
        odd += sum(2 for character in text if character in "\u0a00\u0d00\u2000\u0900")
        share = odd / max(len(text), 1)
        ascii_share = sum(1 for character in text if character.isascii()) / max(len(text), 1)
        if share < 0.02 and ascii_share == 0:
            share = 0.1
        if share < least:
            best, least = name, share
    return best


def _is_odd(character: str) -> bool:
    """Whether the character is in no text, or stands for bytes that are none."""
    if character in "\t\r\n\f\v\b\x1b":
        return False
    return character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cn", "Co", "Cs")


def _escaped(sample: bytes) -> str | None:
    if not sample.isascii() or b"\x1b" not in sample:
        return None
    for mark, name in ((b"\x1b$B", "iso2022_jp"), (b"\x1b$@", "iso2022_jp"), (b"\x1b$)C", "iso2022_kr")):
        if mark in sample:
            return name
    return None


def _weighed(data: bytes) -> Encoding:
    """The candidate whose text is the likeliest."""
    first = next(index for index, byte in enumerate(data) if byte > 127)
    start = max(data.rfind(b"\n", 0, first) + 1, first - 200)
    if start and data[start - 1 : start] != b"\n":
        start = first
    sample = data[start : start + WEIGHED_BYTES]
    if len(sample) == WEIGHED_BYTES and sample.rfind(b"\n") > WEIGHED_BYTES // 2:
        sample = sample[: sample.rfind(b"\n")]
    texts = {name: sample.decode(name, "replace") for name in _CANDIDATES}
    weights = {name: prior + weigh(texts[name]) for name, (prior, weigh) in _CANDIDATES.items()}
    best = min(weights, key=lambda name: weights[name])
    margin = min(
        (weights[name] - weights[best] for name, text in texts.items() if text != texts[best]), default=SURE_BITS
    )
    return Encoding(best, margin >= SURE_BITS)


def _bits(text: str, cost: Callable[[str, str], float]) -> float:
    """The sum of the costs of the characters beyond ASCII, each with the one before it, and of ASCII's letters."""
    total, previous = 0.0, " "
    for character in text:
        if character < "\x80":
            total += 5.0
        elif character == "\ufffd":
            total += _ERROR_BITS
        else:
            total += cost(character, previous)
        previous = character
    return total


def _sign(character: str) -> float:
    if character in COMMON_SIGNS:
        return 8.0
    return 30.0 if "\x80" <= character < "\xa0" else _RARE_BITS


def _case(character: str, previous: str) -> float:
    """The bits for a capital: few at the start of a word, many in its middle."""
    if character.islower() or not character.isupper():
        # A capital before is no surprise, but a word of one script goes on in it.
        return 0.0
    if not previous.isalpha():
        return 2.0
    return 0.5 if previous.isupper() else 7.0


def _alphabet(ranks: dict[str, float], text: str) -> float:
    def cost(character: str, previous: str) -> float:
        letter = ranks.get(character.lower())
        if letter is None:
            return _sign(character)
        return letter + _case(character, previous)

    return _bits(text, cost) + _mixtures(text)


def _mixtures(text: str) -> float:
    """The bits for words of two scripts."""
    pairs = itertools.pairwise(text)
    return sum(
        8.0 for first, second in pairs if first.isalpha() and second.isalpha() and first.isascii() != second.isascii()
    )


def _hebrew(text: str) -> float:
    """The letters that have a form of their own for the end of a word are found there, and nowhere else."""
    misplaced = 0
    for first, second in zip(text, text[1:] + " ", strict=False):
        is_last = not "\u05d0" <= second <= "\u05ea"
        misplaced += (first in "ךםןףץ" and not is_last) or (first in "כמנפצ" and is_last)
    ends = sum(1.5 for letter in text if letter in "ךםןףץ")
    return _alphabet(_ranks(HEBREW, 0.16), text) + 8.0 * misplaced - ends


def _thai(text: str) -> float:
    ranks = _ranks(THAI, 0.09)
    consonants = 0

    def cost(character: str, previous: str) -> float:
        nonlocal consonants
        letter = ranks.get(character)
        if letter is None:
            return _sign(character)
        consonants = consonants + 1 if "\u0e01" <= character <= "\u0e2e" and previous >= "\u0e01" else 0
        if consonants > 1:
            letter += 3.0
        is_lost = character in THAI_MARKS and not "\u0e01" <= previous <= "\u0e4e"
        return letter + (8.0 if is_lost or (character in THAI_MARKS and previous in "เแโใไ") else 0.0)

    return _bits(text, cost) + _mixtures(text)


def _latin(languages: tuple[tuple[float, str], ...], text: str) -> float:
    """The bits in the language that suits best; with its own prior."""
    return _clusters(text) + min(
        prior + _bits(text, partial(_latin_cost, _ranks(letters, 0.35, 5.0))) for prior, letters in languages
    )


def _latin_cost(ranks: dict[str, float], character: str, previous: str) -> float:
    # The small form of İ is two characters.
    letter = ranks.get(character.lower()[0])
    if letter is None:
        return _sign(character) + _case(character, previous)
    return letter + _case(character, previous)


def _clusters(text: str) -> float:
    """The bits for consonants among consonants, and for vowels among vowels."""
    total = 0.0
    for before, character, after in _triples(text):
        if character < "\x80" or not character.isalpha():
            continue
        kinds = [_is_vowel(each) for each in (before, character, after) if each.isalpha()]
        if len(kinds) == 3 and len(set(kinds)) == 1:
            total += 3.0
        if len(kinds) == 1 and not kinds[0]:
            total += 3.0
    return total


def _triples(text: str) -> Iterator[tuple[str, str, str]]:
    return zip(" " + text, text, text[1:] + " ", strict=False)


def _is_vowel(character: str) -> bool:
    return unicodedata.normalize("NFD", character)[0].lower() in "aeiouyæœøı"


def _chinese(level_1: Callable[[str], bool], text: str) -> float:
    def cost(character: str, _: str) -> float:
        if "\u4e00" <= character <= "\u9fff":
            if character in CHINESE:
                return 8.0
            return 13.2 if level_1(character) else 16.5
        return 8.0 if character in CJK_SIGNS else 15.0

    return _bits(text, cost)


def _japanese(text: str) -> float:
    has_kana = False

    def cost(character: str, previous: str) -> float:
        nonlocal has_kana
        if "\u3041" <= character <= "\u3096":
            has_kana = True
            return 5.8
        if "\u30a1" <= character <= "\u30fc":
            has_kana = True
            return 7.5
        if "\u4e00" <= character <= "\u9fff":
            if character in JAPANESE:
                return 8.5
            return 13.0 if _is_in(character, "euc_jp", 0xB0, 0xCF) else 17.0
        if "\uff61" <= character <= "\uff9f":
            return 7.0 if "\uff61" <= previous <= "\uff9f" else 12.0
        return 8.0 if character in CJK_SIGNS else 15.0

    bits = _bits(text, cost)
    return bits if has_kana else bits + 4.0


def _korean(text: str) -> float:
    has_hangul = False

    def cost(character: str, _: str) -> float:
        nonlocal has_hangul
        if "\uac00" <= character <= "\ud7a3":
            has_hangul = True
            if character in KOREAN:
                return 7.5
            return 12.0 if _is_in(character, "euc_kr", 0xB0, 0xC8) else 17.5
        return 9.0 if character in CJK_SIGNS else 17.0

    bits = _bits(text, cost)
    return bits if has_hangul else bits + 8.0


def _is_in(character: str, encoding: str, first: int, last: int) -> bool:
    """Whether the encoding has the character in these rows, where the more frequent ones are."""
    encoded = character.encode(encoding, "ignore")
    return len(encoded) == 2 and first <= encoded[0] <= last


def _is_gb2312(character: str) -> bool:
    return _is_in(character, "gb2312", 0xB0, 0xD7)


def _is_big5(character: str) -> bool:
    return _is_in(character, "big5", 0xA4, 0xC6)


def _ranks(letters: str, step: float, first: float = 3.3) -> dict[str, float]:
    return {letter: first + step * rank for rank, letter in enumerate(letters)}


def _of(letters: str, step: float) -> Weigh:
    return partial(_alphabet, _ranks(letters, step))


_CYRILLIC: Final = _of(CYRILLIC, 0.17)
# The encodings, the bits of how seldom they are met, and the weighing of a text.
_CANDIDATES: Final[dict[str, tuple[float, Weigh]]] = {
    "cp1252": (0.0, partial(_latin, LATIN["cp1252"])),
    "gb18030": (0.0, partial(_chinese, _is_gb2312)),
    "cp1251": (0.0, _CYRILLIC),
    "cp932": (1.0, _japanese),
    "big5": (1.0, partial(_chinese, _is_big5)),
    "cp949": (1.0, _korean),
    "cp1250": (2.0, partial(_latin, LATIN["cp1250"])),
    "cp1253": (2.0, _of(GREEK, 0.17)),
    "cp1254": (2.0, partial(_latin, LATIN["cp1254"])),
    "cp1255": (2.0, _hebrew),
    "cp1256": (2.0, _of(ARABIC, 0.15)),
    "cp874": (2.0, _thai),
    "euc_jp": (2.0, _japanese),
    "koi8_r": (4.0, _CYRILLIC),
    "cp1257": (4.0, partial(_latin, LATIN["cp1257"])),
    "iso8859_2": (4.0, partial(_latin, LATIN["cp1250"])),
    "koi8_u": (5.0, _CYRILLIC),
    "cp866": (5.0, _CYRILLIC),
    "cp1258": (5.0, partial(_latin, LATIN["cp1258"])),
}
