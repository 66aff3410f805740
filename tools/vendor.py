"""Copy the dashboard's libraries from npm's packages into `app/static/dashboard/vendor`, and write their lock.

`make vendor` installs what `tools/dashboard/package-lock.json` names, then runs this. Browsers load modules by their
address, so that names of packages become addresses; nothing else is changed. The lock names each file's package,
version, licence and SHA-256; `tests/dashboard/test_vendor.py` compares them.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ROOT / "tools/dashboard/node_modules"
VENDOR: Final = ROOT / "app/static/dashboard/vendor"
TEST_VENDOR: Final = ROOT / "tests/dashboard/vendor"
LOCK: Final = "vendor.lock.json"

LANGUAGES: Final = (
    *("bash", "c", "cpp", "csharp", "css", "diff", "go", "ini", "java", "javascript", "json", "markdown", "php"),
    *("python", "ruby", "rust", "sql", "typescript", "xml", "yaml"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of an npm package, and the name that it gets.

    `addresses` replace names of packages in it. `types` is what TypeScript is to take for it.
    """

    package: str
    path: str
    name: str
    addresses: Mapping[str, str]
    types: str


def _source(package: str, path: str, name: str, types: str = "", **addresses: str) -> Source:
    return Source(package, path, name, addresses, types)


def _types(module: str) -> str:
    return f'export * from "{module}";\nexport {{ default }} from "{module}";\n'


HIGHLIGHT: Final = "@highlightjs/cdn-assets"
_HIGHLIGHTER: Final = """export interface Highlighter {
  registerLanguage(name: string, grammar: object): void;
  getLanguage(name: string): object | undefined;
  highlight(code: string, options: { language: string; ignoreIllegals?: boolean }): { value: string };
}
declare const highlighter: Highlighter;
export default highlighter;
"""
_GRAMMAR: Final = "declare const grammar: object;\nexport default grammar;\n"
SOURCES: Final = (
    _source("preact", "dist/preact.mjs", "preact.js", 'export * from "preact";\n'),
    _source(
        "preact", "hooks/dist/hooks.mjs", "preact-hooks.js", 'export * from "preact/hooks";\n', preact="./preact.js"
    ),
    _source("htm", "dist/htm.module.js", "htm.js", _types("htm")),
    _source("marked", "lib/marked.esm.js", "marked.js", 'export * from "marked";\n'),
    _source("dompurify", "dist/purify.es.mjs", "dompurify.js", _types("dompurify")),
    _source("uplot", "dist/uPlot.esm.js", "uplot.js", _types("uplot")),
    _source("uplot", "dist/uPlot.min.css", "uplot.css"),
    _source(HIGHLIGHT, "es/core.min.js", "highlight/core.js", _HIGHLIGHTER),
    *(_source(HIGHLIGHT, f"es/languages/{name}.min.js", f"highlight/{name}.js", _GRAMMAR) for name in LANGUAGES),
)
TEST_SOURCES: Final = (_source("axe-core", "axe.min.js", "axe.js"),)


def main() -> None:
    """Write both folders anew."""
    write(VENDOR, SOURCES)
    write(TEST_VENDOR, TEST_SOURCES)


def write(folder: Path, sources: tuple[Source, ...]) -> None:
    """Replace `folder` by the files of `sources`, the licences of their packages, and the lock."""
    shutil.rmtree(folder, ignore_errors=True)
    packages: dict[str, dict[str, Any]] = {}
    for source in sources:
        content = _content(source)
        target = folder / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if source.types:
            target.with_suffix(".d.ts").write_text(source.types)
        package = packages.setdefault(source.package, _package(source.package, folder))
        package["files"][source.name] = hashlib.sha256(content).hexdigest()
    (folder / LOCK).write_text(json.dumps(packages, indent=2, sort_keys=True) + "\n")


def _content(source: Source) -> bytes:
    text = (PACKAGES / source.package / source.path).read_text(encoding="utf-8")
    for name, address in source.addresses.items():
        text = re.sub(rf"""(from\s*)(["']){re.escape(name)}\2""", rf"\1\2{address}\2", text)
    # The maps are not served.
    return re.sub(r"^//# sourceMappingURL=.*\n?", "", text, flags=re.MULTILINE).encode()


def _package(name: str, folder: Path) -> dict[str, Any]:
    """The lock's entry of a package; its licence is copied."""
    described = json.loads((PACKAGES / name / "package.json").read_text(encoding="utf-8"))
    locked = json.loads((PACKAGES.parent / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    licence = next(path for path in sorted((PACKAGES / name).iterdir()) if path.name.upper().startswith("LICENSE"))
    target = folder / "licences" / f"{name.rpartition('/')[2]}.txt"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(licence, target)
    return {
        "version": described["version"],
        "licence": described["license"],
        "integrity": locked[f"node_modules/{name}"]["integrity"],
        "files": {},
    }


if __name__ == "__main__":
    main()
