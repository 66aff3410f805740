"""Writes the README's tables of settings from the descriptions in `app.settings` (`make docs`)."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.settings import ApiKeySettings, ProviderSettings, Settings

README: Final = Path(__file__).parents[1] / "README.md"
TABLES: Final[dict[str, type[BaseModel]]] = {
    "settings": Settings,
    "providers": ProviderSettings,
    "api_keys": ApiKeySettings,
}


def filled(text: str) -> str:
    """The text with each table, between its pair of marks (`<!-- table: settings -->`, `<!-- /table -->`), as it must
    be now. Raises ValueError when the text has no place for one."""
    for name, model in TABLES.items():
        marks = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- /table -->)", re.DOTALL)
        if not marks.search(text):
            raise ValueError(f"there is no place for the table {name}")
        table = "\n".join(_rows(model))
        text = marks.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)  # type: ignore[misc]
    return text


def _rows(model: type[BaseModel]) -> Iterator[str]:
    is_root = model is Settings
    yield f"| {'Variable' if is_root else 'Key'} | Default | What it is |"
    yield "| --- | --- | --- |"
    for name, field in model.model_fields.items():
        if not field.description:
            raise ValueError(f"{model.__name__}.{name} has no description")
        shown = (field.validation_alias or f"PALAVER_{name.upper()}") if is_root else name
        yield f"| `{shown}` | {_default(name, field)} | {field.description}{_choices(field)} |"


def _choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return f" One of {', '.join(f'`{each}`' for each in get_args(field.annotation))}."


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if value is None or value in ([], {}):
        return "unset" if value is None else "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in value)
    if name.endswith("_bytes") and value % 1024**2 == 0:
        return f"`{value}` ({value // 1024**2} MiB)"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main() -> None:
    """Write the tables, and say whether they were other ones before."""
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    README.write_text(after, encoding="utf-8")
    sys.stdout.write(f"{README.name} is {'up to date' if after == before else 'written'}\n")


if __name__ == "__main__":
    main()
