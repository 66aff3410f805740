"""Every regular expression that sees a client's text works in linear time."""

import ast
import importlib
import json
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from re import _constants as codes
from re import _parser as parser
from types import ModuleType
from typing import Any

import pytest

import app
from tests.support.programs import ROOT

CHARS = 20_000
"""A quadratic pattern needs a second for so many, a linear one a few milliseconds."""
MAX_SECONDS = 0.15
FEW = (*range(8, 32, 2), 200)
"""Repetitions at which an exponential pattern is noticed before it takes for ever."""
METHODS = ("match", "fullmatch", "search", "sub", "split", "findall", "finditer")
FILLERS = ("a", "0", " ", "\n", "a ", "a:", ": ", '"', ".", "-", "\u00e9")
ENDS = ("", "\0", "!", " x")


@dataclass(frozen=True)
class Use:
    """A pattern, and the method by which it is applied."""

    name: str
    pattern: re.Pattern[Any]
    method: str


def _modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(app.__path__, "app."):
        if info.name != "app.server.uvicorn":
            yield importlib.import_module(info.name)


def _uses() -> list[Use]:
    uses: dict[tuple[Any, ...], Use] = {}
    for module in _modules():
        source = Path(str(module.__file__)).read_text()
        for node in ast.walk(ast.parse(source)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
                continue
            pattern = _pattern_of(module, node)
            if pattern is not None:
                where = f"{module.__name__}:{node.lineno}"
                uses[pattern.pattern, pattern.flags, node.func.attr] = Use(where, pattern, node.func.attr)
    return list(uses.values())


def _pattern_of(module: ModuleType, call: ast.Call) -> re.Pattern[Any] | None:
    """The pattern of `NAME.match(...)`, `name().match(...)` or `re.match(PATTERN, ...)`; None for other calls."""
    assert isinstance(call.func, ast.Attribute)
    owner = call.func.value
    if isinstance(owner, ast.Name) and owner.id == "re":
        source = _source_of(module, call.args[0])
        flags = [argument for argument in call.args[1:] if ast.unparse(argument).startswith("re.")]
        return re.compile(source, eval(ast.unparse(flags[0]), vars(module)) if flags else 0)
    if isinstance(owner, ast.Name):
        value = vars(module).get(owner.id)
    elif isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and not owner.args:
        make = vars(module).get(owner.func.id)
        value = make() if callable(make) else None
    else:
        value = None
    return value if isinstance(value, re.Pattern) else None


def _source_of(module: ModuleType, argument: ast.expr) -> Any:
    """A pattern's source; what a function puts into it, which is escaped, counts as a name."""
    if not isinstance(argument, ast.JoinedStr):
        return eval(ast.unparse(argument), vars(module))
    pieces = []
    for value in argument.values:
        if isinstance(value, ast.Constant):
            pieces.append(str(value.value))
        elif "re.escape" in ast.unparse(value):
            pieces.append("name")
        else:
            pieces.append(eval(f"f{ast.unparse(value)!r}", vars(module)))
    return "".join(pieces)


def _of_fields() -> Iterator[tuple[str, str]]:
    """The patterns of fields, with the modules that name them: msgspec applies them as Python reads them."""
    for module in _modules():
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Meta":
                for keyword in node.keywords:
                    if keyword.arg == "pattern":
                        yield module.__name__, eval(ast.unparse(keyword.value), vars(module))


def test_what_checks_a_whole_text_checks_its_last_newline_too() -> None:
    fields = list(_of_fields())
    assert len(fields) > 20
    checks = [(use.name, str(use.pattern.pattern)) for use in _uses() if use.method == "match"]
    loose = [
        (name, pattern) for name, pattern in (*fields, *checks) if pattern.startswith("^") and pattern.endswith("$")
    ]
    assert loose == [], r"end it with \Z"


def _schema_patterns() -> list[tuple[str, int]]:
    longest_of: dict[str, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("pattern"), str):
                longest_of[value["pattern"]] = max(longest_of.get(value["pattern"], 0), value.get("maxLength", 0))
            for item in value.values():
                visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    visit(json.loads((ROOT / "openapi.json").read_text()))
    return sorted(longest_of.items())


def _literals(pattern: re.Pattern[Any]) -> list[str]:
    """The runs of plain characters in a pattern, which lead into its middle, and one for each class of characters."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    runs: dict[str, None] = {}

    def visit(items: Any) -> str:
        run = ""
        for code, argument in items:
            if code is codes.LITERAL:
                run += chr(argument)
                continue
            if code is codes.IN and argument[0][0] is codes.LITERAL:
                run += chr(argument[0][1])
            elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
                run += visit(argument[2]) * max(argument[0], 1)
            elif code is codes.SUBPATTERN:
                run += visit(argument[3])
            elif code is codes.BRANCH:
                branches = [visit(branch) for branch in argument[1]]
                run += branches[0]
            runs[run] = None
        runs[run] = None
        return run

    visit(parser.parse(source, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags))
    # The parser takes out of branches what they all begin with.
    return list(dict.fromkeys([*filter(None, runs), *(f"<{run}" for run in runs if run and "<" in source)]))


def _slowest(pattern: re.Pattern[Any], act: Callable[[Any], object], chars: int) -> tuple[float, str]:
    """The most CPU time for a hostile text, and that text's make."""
    literals = _literals(pattern)[:24]
    worst = (0.0, "")
    for start, filler, end in product(("", *literals[-1:]), (*FILLERS, *literals), ENDS):
        for count in (*FEW, chars // len(filler)):
            text = start + filler * count + end
            data = text.encode() if isinstance(pattern.pattern, bytes) else text
            worst = max(worst, (_seconds(act, data), f"{start!r} + {filler!r} * {count} + {end!r}"))
            if worst[0] > MAX_SECONDS:
                return worst
    return worst


def _seconds(act: Callable[[Any], object], data: Any) -> float:
    """The CPU time of the fastest of up to three tries."""
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        act(data)
        seconds.append(time.thread_time() - start)
        if seconds[-1] <= MAX_SECONDS or seconds[-1] > 1:
            break
    return min(seconds)


USES = _uses()


def _act(use: Use) -> Callable[[Any], object]:
    if use.method == "sub":
        return lambda text: use.pattern.sub(b"" if isinstance(text, bytes) else "", text)
    if use.method == "finditer":
        return lambda text: list(use.pattern.finditer(text))
    act: Callable[[Any], object] = getattr(use.pattern, use.method)
    return act


@pytest.mark.parametrize("use", USES, ids=lambda use: f"{use.name}-{use.method}")
def test_a_pattern_works_in_linear_time(use: Use) -> None:
    seconds, text = _slowest(use.pattern, _act(use), CHARS)
    assert seconds <= MAX_SECONDS, text


@pytest.mark.parametrize(("source", "longest"), _schema_patterns(), ids=lambda value: str(value)[:40])
def test_a_pattern_of_the_document_works_in_linear_time(source: str, longest: int) -> None:
    """Applied as msgspec applies it, to longer texts too: nothing says what is checked first."""
    pattern = re.compile(source)
    seconds, text = _slowest(pattern, pattern.search, max(CHARS, longest))
    assert seconds <= MAX_SECONDS, text


def test_the_patterns_are_found() -> None:
    assert len(USES) > 20
    assert any("bots.service" in use.name for use in USES)  # re.fullmatch(NAME_PATTERN, ...)
    assert any("knowledge.tokens" in use.name for use in USES)  # _pieces().findall(...)


@pytest.mark.parametrize("source", [r"^[^\x00]*[^\s\x00][^\x00]*$", r"a*0*a*$", r"(?:a|a)*$"])
def test_a_slow_pattern_is_noticed(source: str) -> None:
    pattern = re.compile(source)
    assert _slowest(pattern, pattern.match, CHARS)[0] > MAX_SECONDS
