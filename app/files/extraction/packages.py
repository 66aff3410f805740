"""Office packages (ZIP files of XML), checked before a library unpacks them."""

from io import BytesIO
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import crc32, decompressobj
from zlib import error as ZlibError  # noqa: N812

from app.files.extraction.models import BROKEN, DocumentLimits, Reason, Unreadable

RATIO_FREE_BYTES = 1024**2
"""Small members may be packed as tightly as they like."""
PROLOG_BYTES = 4096
CONTENT_TYPES = "[Content_Types].xml"
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL_BYTES, _END_BYTES = 30, 22


class SalvagedPackage(ZipFile):
    """A package whose directory is wrong, put together from its members."""


def is_package(data: bytes) -> bool:
    """Whether it is a ZIP file, also with some bytes before it, as of a download's head."""
    return data.startswith(_LOCAL) or (_LOCAL in data[:4096] and _END in data[-65_557:])


def part_name(member: ZipInfo) -> str:
    """The name of a part, as it would be with the separators of the format."""
    return "/".join(piece for piece in member.filename.replace("\\", "/").split("/") if piece not in ("", "."))


def open_package(data: bytes, limits: DocumentLimits) -> ZipFile:
    """Open a package that is safe to unpack. Raises Unreadable.

    The sizes in its directory are checked: `zipfile` gives no more of a member than that. If the directory is not that
    of the members, it is made again from them.
    """
    try:
        package = ZipFile(BytesIO(data))
        is_consistent = all(_is_consistent(data, member) for member in package.infolist()[: limits.max_members])
    except (BadZipFile, ValueError, OverflowError, NotImplementedError):
        is_consistent = False
    if not is_consistent:
        package = _salvaged(data, limits)
    members = package.infolist()
    if len(members) > limits.max_members:
        raise Unreadable(Reason.BOMB, f"it is packed from more than {limits.max_members:,} parts")
    if sum(member.file_size for member in members) > limits.max_unpacked_bytes:
        raise Unreadable(Reason.BOMB, f"it unpacks to more than {megabytes(limits.max_unpacked_bytes)}")
    for member in members:
        _check(member, limits)
        if member.filename.lower().endswith((".xml", ".rels", ".vml")):
            _refuse_doctype(package, member)
    return package


def _is_consistent(data: bytes, member: ZipInfo) -> bool:
    """Whether the directory says the same of a member as the member itself, whose sizes may come behind it."""
    head = data[member.header_offset : member.header_offset + _LOCAL_BYTES]
    if len(head) < _LOCAL_BYTES or not head.startswith(_LOCAL):
        return False
    flags = int.from_bytes(head[6:8], "little")
    crc, packed, unpacked = (int.from_bytes(head[start : start + 4], "little") for start in (14, 18, 22))
    length = int.from_bytes(head[26:28], "little")
    name = data[member.header_offset + _LOCAL_BYTES :][:length]
    same_name = name == member.orig_filename.encode("utf-8" if flags & 0x800 else "cp437", "replace")
    if flags & 8 or 0xFFFFFFFF in (packed, unpacked):
        return same_name
    return same_name and (crc, packed, unpacked) == (member.CRC, member.compress_size, member.file_size)


def _salvaged(data: bytes, limits: DocumentLimits) -> ZipFile:
    """A package of the members, all of which must be there. Raises Unreadable."""
    position = data.find(_LOCAL)
    end = data.rfind(_END)
    if position == -1 or end == -1 or len(data) - end < _END_BYTES:
        raise Unreadable(Reason.BROKEN, BROKEN)
    parts: dict[str, bytes] = {}
    left, count = limits.max_unpacked_bytes, 0
    while data.startswith(_LOCAL, position):
        count += 1
        name, content, position = _member_at(data, position, left, limits)
        parts[name] = content
        left -= len(content)
        if count > limits.max_members:
            raise Unreadable(Reason.BOMB, f"it is packed from more than {limits.max_members:,} parts")
    if not data.startswith((_CENTRAL, _END), position):
        raise Unreadable(Reason.BROKEN, BROKEN)
    out = BytesIO()
    with ZipFile(out, "w", ZIP_STORED) as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return SalvagedPackage(out)


def _member_at(data: bytes, position: int, left: int, limits: DocumentLimits) -> tuple[str, bytes, int]:
    """The name and the content of the member, and the place behind it. Raises Unreadable."""
    head = data[position : position + _LOCAL_BYTES]
    flags, method = (int.from_bytes(head[start : start + 2], "little") for start in (6, 8))
    crc, packed = (int.from_bytes(head[start : start + 4], "little") for start in (14, 18))
    names, extras = (int.from_bytes(head[start : start + 2], "little") for start in (26, 28))
    name = data[position + _LOCAL_BYTES :][:names].decode("utf-8" if flags & 0x800 else "cp437", "replace")
    start = position + _LOCAL_BYTES + names + extras
    if flags & 1:
        raise Unreadable(Reason.ENCRYPTED, "it is protected with a password")
    if method == ZIP_STORED and not flags & 8:
        content, end = data[start : start + packed], start + packed
    elif method == ZIP_DEFLATED:
        inflater = decompressobj(-15)
        try:
            content = inflater.decompress(memoryview(data)[start:], left + 1)
        except ZlibError:
            raise Unreadable(Reason.BROKEN, BROKEN) from None
        if len(content) > left:
            raise Unreadable(Reason.BOMB, f"it unpacks to more than {megabytes(limits.max_unpacked_bytes)}")
        if not inflater.eof:
            raise Unreadable(Reason.BROKEN, BROKEN)
        end = len(data) - len(inflater.unused_data)
        if len(content) > RATIO_FREE_BYTES and len(content) > (end - start) * limits.max_ratio:
            raise Unreadable(Reason.BOMB, f"a part of it unpacks to more than {limits.max_ratio} times its size")
    else:
        raise Unreadable(Reason.UNSUPPORTED, "it is packed in an unusual way")
    if flags & 8:  # its sum and its sizes are behind it
        end += 4 if data.startswith(b"PK\x07\x08", end) else 0
        crc = int.from_bytes(data[end : end + 4], "little")
        end += 12 if data[end + 12 : end + 14] == b"PK" else 20
    if crc != crc32(content):
        raise Unreadable(Reason.BROKEN, BROKEN)
    return name, content, end


def megabytes(count: int) -> str:
    return f"{count / 1024**2:,.0f} MiB" if count >= 1024**2 else f"{count:,} bytes"


def _check(member: ZipInfo, limits: DocumentLimits) -> None:
    if member.flag_bits & 1:
        raise Unreadable(Reason.ENCRYPTED, "it is protected with a password")
    # Other methods are slower to unpack, pack tighter, and are not written by office software.
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise Unreadable(Reason.UNSUPPORTED, "it is packed in an unusual way")
    if member.file_size > RATIO_FREE_BYTES and member.file_size > member.compress_size * limits.max_ratio:
        raise Unreadable(Reason.BOMB, f"a part of it unpacks to more than {limits.max_ratio} times its size")


class _RootSeen(Exception):
    pass


def _refuse_doctype(package: ZipFile, member: ZipInfo) -> None:
    """Refuse a member with a document type: office software writes none, attacks by entities need one.

    It can only stand before the root element. A parser finds it in any encoding.
    """
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise Unreadable(Reason.BOMB, "it declares XML entities")

    def stop(*_: object) -> None:
        raise _RootSeen

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = stop
    try:
        with package.open(member) as stream:
            while block := stream.read(PROLOG_BYTES):
                parser.Parse(block)
    except _RootSeen:
        return
    except (expat.ExpatError, BadZipFile, EOFError, OSError, ValueError):
        raise Unreadable(Reason.BROKEN, BROKEN) from None
