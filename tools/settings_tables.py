"""Generate the tables of `docs/settings.md` from the descriptions in `app.settings` (`make docs`)."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.settings import ApiKeySettings, McpServerSettings, PriceSettings, ProviderSettings, Settings

PAGE: Final = Path(__file__).parents[1] / "docs/settings.md"
TABLES: Final[dict[str, type[BaseModel]]] = {
    "settings": Settings,
    "providers": ProviderSettings,
    "prices": PriceSettings,
    "api_keys": ApiKeySettings,
    "mcp_servers": McpServerSettings,
}


def fill_tables(text: str) -> str:
    """Replace each table between its markers (`<!-- table: settings -->`, `<!-- /table -->`) by the present one.

    Raises ValueError when a table has no markers in the text.
    """
    for name, model in TABLES.items():
        markers = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- /table -->)", re.DOTALL)
        if not markers.search(text):
            raise ValueError(f"there are no markers for the table {name}")
        table = "\n".join(_rows(model))
        text = markers.sub(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)  # type: ignore[misc]
    return text


def _rows(model: type[BaseModel]) -> Iterator[str]:
    is_root = model is Settings
    yield f"| {'Variable' if is_root else 'Key'} | Default | What it is |"
    yield "| --- | --- | --- |"
    for name, field in model.model_fields.items():
        if not field.description:
            raise ValueError(f"{model.__name__}.{name} has no description")
        label = (field.validation_alias or f"PALAVER_{name.upper()}") if is_root else name
        yield f"| `{label}` | {_default(name, field)} | {field.description}{_choices(field)} |"


def _choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return f" One of {', '.join(f'`{choice}`' for choice in get_args(field.annotation))}."


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if value is None or value in ([], {}):
        return "unset" if value is None else "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    if name.endswith("_bytes") and value % 1024**2 == 0:
        return f"`{value}` ({value // 1024**2} MiB)"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main() -> None:
    """Write the tables, and report whether they have changed."""
    before = PAGE.read_text(encoding="utf-8")
    after = fill_tables(before)
    if after != before:
        PAGE.write_text(after, encoding="utf-8")
    sys.stdout.write(f"docs/{PAGE.name} is {'up to date' if after == before else 'written'}\n")


if __name__ == "__main__":
    main()
