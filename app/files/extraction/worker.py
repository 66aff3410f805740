"""The worker process: `python -m app.files.extraction.worker <bytes of memory>`, messages on stdin and stdout.

It gives up what it does not need before it looks at anything: memory and CPU time beyond the limits, files, and the
stdout that a library might print to. It ends when the server goes.
"""

import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from app.files.extraction.detect import Format, detect
from app.files.extraction.framing import END, framed, read_frame
from app.files.extraction.models import BROKEN, TOO_MUCH_MEMORY, ExtractedText, Reason, Refusal, Refused, Reply, Request
from app.files.extraction.output import Full, TextOutput

if sys.platform != "win32":
    import resource

NICENESS = 10
OPEN_FILES = 64
XML_NO_MEMORY = 2
"""libxml2's code for what lxml raises as a syntax error."""


def main() -> None:
    requests, replies = _claim_pipes()
    _give_up_privileges(int(sys.argv[1]))
    replies.write(END)  # an empty message: ready
    replies.flush()
    while (head := read_frame(requests)) is not None:
        request = msgspec.json.decode(head, type=Request)
        data = _content(requests)
        if data is None:
            return
        _limit_cpu_time(request.limits.timeout_seconds)
        replies.write(framed(msgspec.json.encode(read_safely(data, request))))
        replies.flush()


def read_safely(data: bytes, request: Request) -> Reply:
    """The text, or why there is none; whatever a parser raises counts as the document's fault."""
    try:
        return read(data, request)
    except Refusal as refusal:
        return Refused(refusal.reason, refusal.explanation)
    except MemoryError:
        return Refused(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY)
    except RecursionError as error:
        return Refused(Reason.BROKEN, "it is nested too deeply", _where(error))
    except Exception as error:  # noqa: BLE001 - the process's edge
        if getattr(error, "code", None) == XML_NO_MEMORY:
            return Refused(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY)
        return Refused(Reason.BROKEN, BROKEN, _where(error))


def read(data: bytes, request: Request) -> ExtractedText:
    """The text. Raises Refusal, and what the libraries raise."""
    kind = detect(data, request.filename, request.media_type, request.limits)
    output = TextOutput(request.limits.max_text_chars)
    with contextlib.suppress(Full):
        _read_into(output, data, kind, request)
    if not output.has_text:
        scanned = "; scanned pages have to be recognised first" if kind == Format.PDF else ""
        raise Refusal(Reason.EMPTY, f"it holds no text{scanned}")
    return output.finish(kind)


def _read_into(output: TextOutput, data: bytes, kind: Format, request: Request) -> None:
    # Each parser is imported when the first such document comes: together they take a second and 60 MB.
    match kind:
        case Format.PDF:
            from app.files.extraction.pdf import read_pdf

            read_pdf(data, output, request.limits)
        case Format.DOCX:
            from app.files.extraction.word import read_docx

            read_docx(data, output)
        case Format.XLSX:
            from app.files.extraction.sheets import read_xlsx

            read_xlsx(data, output)
        case Format.PPTX:
            from app.files.extraction.slides import read_pptx

            read_pptx(data, output, request.limits)
        case Format.HTML:
            from app.files.extraction.markup import read_html

            read_html(data, output)
        case Format.TEXT:
            from app.files.extraction.plain import read_text

            read_text(data, output)


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the server; what a library prints or logs goes nowhere, as it may repeat the document."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends its workers itself
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    logging.disable()
    warnings.simplefilter("ignore")
    return requests, replies


def _give_up_privileges(memory_bytes: int) -> None:
    if sys.platform == "win32":
        return
    os.nice(NICENESS)  # streams go first
    for which, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        hard = resource.getrlimit(which)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # macOS has no limit on address space
            resource.setrlimit(which, (least, least))


def _limit_cpu_time(seconds: float) -> None:
    """The kernel ends this process after so much more CPU time, also when no server is left to do it."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 2
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _content(requests: BinaryIO) -> bytes | None:
    blocks = []
    while block := read_frame(requests):
        blocks.append(block)
    return None if block is None else b"".join(blocks)


def _where(error: Exception) -> str:
    """The kind and the place of an error, without its message, which may quote the document."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


if __name__ == "__main__":
    main()
