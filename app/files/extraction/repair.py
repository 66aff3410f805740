"""Office packages as the libraries expect them: what is odd in one of the parts does not cost the others.

Packages in order are left alone. Of others, what has no text is left out: pictures, macros, fonts.
"""

import posixpath
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final
from urllib.parse import unquote
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from lxml import etree

from app.files.extraction.models import DocumentLimits
from app.files.extraction.packages import CONTENT_TYPES, SalvagedPackage, open_package, part_name
from app.files.extraction.xml import parsed

_STRICT_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True)
_TYPES: Final = "{http://schemas.openxmlformats.org/package/2006/content-types}"
_RELATIONSHIP: Final = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_ROOT_RELATIONSHIPS: Final = (
    b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
    b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="/%s"/>'
    b"</Relationships>"
)
_RELATIONSHIPS_TYPE: Final = "application/vnd.openxmlformats-package.relationships+xml"
_READ_ENDINGS: Final = (".xml", ".rels", ".vml", ".htm", ".html", ".txt", ".mht")
_PREFIX: Final = "application/vnd.openxmlformats-officedocument."
MAIN_TYPES: Final = {
    "docx": f"{_PREFIX}wordprocessingml.document.main+xml",
    "xlsx": f"{_PREFIX}spreadsheetml.sheet.main+xml",
    "pptx": f"{_PREFIX}presentationml.presentation.main+xml",
}
MAIN_PARTS: Final = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}
# The types of parts, by the names of the relationships that lead to them.
_PART_TYPES: Final = {
    **{
        name: f"{_PREFIX}wordprocessingml.{name}+xml"
        for name in ("header", "footer", "footnotes", "endnotes", "comments", "numbering", "settings", "fontTable")
    },
    **{name: f"{_PREFIX}spreadsheetml.{name}+xml" for name in ("worksheet", "chartsheet", "sharedStrings")},
    **{
        name: f"{_PREFIX}presentationml.{name}+xml"
        for name in ("slide", "slideLayout", "slideMaster", "notesSlide", "notesMaster")
    },
    "chart": f"{_PREFIX}drawingml.chart+xml",
    "theme": f"{_PREFIX}theme+xml",
    "drawing": f"{_PREFIX}drawing+xml",
}
_STYLES: Final = {
    "docx": f"{_PREFIX}wordprocessingml.styles+xml",
    "xlsx": f"{_PREFIX}spreadsheetml.styles+xml",
}


_KNOWN_NAMES: Final = {
    name.lower(): name
    for name in (
        CONTENT_TYPES,
        "_rels/.rels",
        "docProps/app.xml",
        "docProps/core.xml",
        "docProps/custom.xml",
        "xl/sharedStrings.xml",
        "xl/styles.xml",
        "xl/theme/theme1.xml",
        *MAIN_PARTS.values(),
    )
}


def repaired(data: bytes, kind: str, limits: DocumentLimits) -> bytes:
    """The package with names, types and relationships in order. Raises Unreadable."""
    with open_package(data, limits) as package:
        return _Repair(package, kind).run() or data


class _Repair:
    def __init__(self, package: ZipFile, kind: str) -> None:
        self._package = package
        self._kind = kind
        # The last of a name counts, as in the directory.
        self._members = _named({part_name(member): member for member in package.infolist() if not member.is_dir()})
        self._by_lower = {name.lower(): name for name in self._members}
        self._changed = isinstance(package, SalvagedPackage) or any(
            name != member.filename for name, member in self._members.items()
        )
        self._changed |= len(self._members) < sum(not member.is_dir() for member in package.infolist())
        self._types: dict[str, str] = {}

    def run(self) -> bytes | None:
        """The new package; None when the old one is in order."""
        parts: dict[str, bytes] = {}
        main = self._main_part()
        if "_rels/.rels" not in self._members:
            parts["_rels/.rels"] = _ROOT_RELATIONSHIPS % main.encode()
            self._changed = True
        for name in self._members:
            if name.endswith(".rels") and self._is_of_part(name):
                relationships = self._relationships(name)
                if relationships is not None:
                    parts[name] = relationships
                    self._changed = True
        self._types[main] = MAIN_TYPES[self._kind]
        types = self._content_types()
        if types is not None:
            parts[CONTENT_TYPES] = types
            self._changed = True
        return self._write(parts) if self._changed else None

    def _main_part(self) -> str:
        if (rels := self._members.get("_rels/.rels")) is not None:
            root = parsed(self._package.read(rels))
            for element in [] if root is None else root.iter(_RELATIONSHIP):
                name = self._find("", element.get("Target", ""))
                if element.get("Type", "").endswith("/officeDocument") and name is not None:
                    return name
        return self._by_lower.get(MAIN_PARTS[self._kind], MAIN_PARTS[self._kind])

    def _is_of_part(self, name: str) -> bool:
        """Whether a file of relationships belongs to a part that there is."""
        folder, _, file = name.rpartition("/")
        owner = posixpath.join(folder.removesuffix("_rels"), file.removesuffix(".rels"))
        return folder.endswith("_rels") and (owner == "" or owner in self._members)

    def _relationships(self, name: str) -> bytes | None:
        """The relationships without those that lead nowhere; None if all are in order."""
        folder = name.rpartition("/")[0].removesuffix("_rels").strip("/")
        root, changed = self._parsed(name)
        if root is None:
            return _ROOT_RELATIONSHIPS[: _ROOT_RELATIONSHIPS.index(b"<Relationship ")] + b"</Relationships>"
        ids = set()
        for element in list(root):
            if element.tag != _RELATIONSHIP:
                continue
            id, target = element.get("Id"), element.get("Target", "")
            if id is None or id in ids or not element.get("Type") or "Target" not in element.attrib:
                root.remove(element)
                changed = True
                continue
            ids.add(id)
            if element.get("TargetMode", "").lower() == "external":
                continue
            part = self._find(folder, target)
            if part is None:
                root.remove(element)
                changed = True
                continue
            role = element.get("Type").rpartition("/")[2]
            part_type = _STYLES.get(self._kind) if role == "styles" else _PART_TYPES.get(role)
            if part_type is not None:
                self._types[part] = part_type
            if _resolved(folder, target) != part:
                element.set("Target", f"/{part}")
                changed = True
        return etree.tostring(root) if changed else None

    def _parsed(self, name: str) -> tuple[Any, bool]:
        """The root of a part, and whether it is not all that the part should be."""
        content = self._package.read(self._members[name])
        try:
            return etree.fromstring(content, _STRICT_PARSER), False
        except etree.XMLSyntaxError:
            return parsed(content), True

    def _find(self, folder: str, target: str) -> str | None:
        """The part that is meant, in any case and any spelling of the path."""
        target = target.partition("#")[0]
        if not target:
            return None
        for path in (target, unquote(target)):
            for base in (folder, ""):
                name = self._by_lower.get(_resolved(base, path.replace("\\", "/")).lower())
                if name is not None:
                    return name
        return None

    def _content_types(self) -> bytes | None:
        """The types of all parts that are read; None if they are all there."""
        name = self._by_lower.get(CONTENT_TYPES.lower())
        root, changed = (None, True) if name is None else self._parsed(name)
        if root is None:
            root = etree.Element(f"{_TYPES}Types", nsmap={None: _TYPES[1:-1]})
        defaults = {(element.get("Extension") or "").lower() for element in root.iter(f"{_TYPES}Default")}
        overrides: dict[str, Any] = {}
        for element in list(root.iter(f"{_TYPES}Override")):
            part = (element.get("PartName") or "").replace("\\", "/").lstrip("/")
            actual = self._by_lower.get(part.lower())
            if actual is None or actual in overrides:
                root.remove(element)
                changed = changed or actual is not None
                continue
            overrides[actual] = element
            if element.get("PartName") != f"/{actual}":
                element.set("PartName", f"/{actual}")
                changed = True
        for part, part_type in self._types.items():
            if part not in overrides:
                etree.SubElement(root, f"{_TYPES}Override", PartName=f"/{part}", ContentType=part_type)
                changed = True
            elif overrides[part].get("ContentType") != part_type:
                overrides[part].set("ContentType", part_type)
                changed = True
        for part in self._members:
            extension = part.rpartition(".")[2].lower()
            if (
                part not in overrides
                and part not in self._types
                and extension not in defaults
                and part != CONTENT_TYPES
            ):
                part_type = _RELATIONSHIPS_TYPE if extension == "rels" else "application/xml"
                etree.SubElement(root, f"{_TYPES}Default", Extension=extension, ContentType=part_type)
                defaults.add(extension)
                changed = True
        return etree.tostring(root) if changed else None

    def _write(self, parts: Mapping[str, bytes]) -> bytes:
        out = BytesIO()
        with ZipFile(out, "w", ZIP_DEFLATED, compresslevel=1) as target:
            for name, content in parts.items():
                target.writestr(name, content)
            for name, member in self._members.items():
                if name in parts or name.lower() == CONTENT_TYPES.lower():
                    continue
                # A part without content is there all the same: relationships lead to it.
                content = self._package.read(member) if name.lower().endswith(_READ_ENDINGS) else b""
                target.writestr(name, content)
            if CONTENT_TYPES not in parts:
                target.writestr(CONTENT_TYPES, self._package.read(self._members[CONTENT_TYPES]))
        return out.getvalue()


def _resolved(folder: str, target: str) -> str:
    path = posixpath.normpath(posixpath.join("/", folder, target))
    return path.lstrip("/")


def _named(members: Mapping[str, ZipInfo]) -> dict[str, ZipInfo]:
    """The members with the names that libraries look for, whatever their case; relationships go with their parts."""
    named = {_KNOWN_NAMES.get(name.lower(), name): member for name, member in members.items()}
    by_lower = {name.lower(): name for name in named}
    result: dict[str, ZipInfo] = {}
    for name, member in named.items():
        folder, _, file = name.rpartition("/")
        if folder.lower().endswith("_rels") and file.lower().endswith(".rels") and file.lower() != ".rels":
            owner = by_lower.get(f"{folder[:-5]}{file[:-5]}".lower())
            if owner is not None:
                result["/_rels/".join(posixpath.split(owner)).lstrip("/") + ".rels"] = member
                continue
        result[name] = member
    return result
