"""Office packages (ZIP files of XML), checked before a library unpacks them."""

from io import BytesIO
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from app.files.extraction.models import BROKEN, DocumentLimits, Reason, Unreadable

RATIO_FREE_BYTES = 1024**2
"""Small members may be packed as tightly as they like."""
PROLOG_BYTES = 4096


def open_package(data: bytes, limits: DocumentLimits) -> ZipFile:
    """Open a package that is safe to unpack. Raises Unreadable.

    The sizes in its directory are checked: `zipfile` gives no more of a member than that.
    """
    try:
        package = ZipFile(BytesIO(data))
    except (BadZipFile, ValueError, OverflowError, NotImplementedError):
        raise Unreadable(Reason.BROKEN, BROKEN) from None
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
