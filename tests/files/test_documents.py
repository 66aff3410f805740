"""Documents of many writers are read as they would be by a person: the text expected of each lies next to it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.auth.models import Principal
from app.database.engine import open_database
from app.errors import Unavailable
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.models import DocumentLimits, ExtractedText, Reason
from app.files.extraction.reader import DocumentReader
from app.files.models import Attachment, AttachmentTextRow
from app.files.quota import StorageQuota
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.files.storage import open_storage
from app.idempotency import Idempotency

CORPUS = Path(__file__).parent.parent / "data" / "documents"
DOCUMENTS = sorted(file.with_suffix("").name for file in CORPUS.glob("*.expected"))


@pytest.fixture
async def reader() -> AsyncIterator[DocumentReader]:
    reader = DocumentReader(workers=1)
    yield reader
    await reader.close()


async def test_every_document_of_the_corpus_gives_the_expected_text(reader: DocumentReader) -> None:
    assert len(DOCUMENTS) > 20
    for name in DOCUMENTS:
        text = await reader.read((CORPUS / name).read_bytes(), name)
        assert text.for_model(name) == (CORPUS / f"{name}.expected").read_text().rstrip("\n"), name


async def test_the_name_and_the_declared_type_count_for_nothing_where_the_content_is_known(
    reader: DocumentReader,
) -> None:
    for name, claimed, media_type, kind in (
        ("libreoffice-report.pdf", "notes.txt", "text/plain", "pdf"),
        ("libreoffice-report.docx", "table.xlsx", "application/pdf", "docx"),
        ("libreoffice-budget.xlsx", "noname", "", "xlsx"),
        ("page.html", "page.txt", "text/plain", "html"),
    ):
        text = await reader.read((CORPUS / name).read_bytes(), claimed, media_type)
        assert text.format == kind
        assert text.text == (await reader.read((CORPUS / name).read_bytes(), name)).text


async def test_a_text_is_cut_at_the_limit_and_says_where() -> None:
    reader = DocumentReader(DocumentLimits(max_text_chars=150), workers=1)
    try:
        sheet = await reader.read((CORPUS / "pandas-openpyxl.xlsx").read_bytes(), "sales.xlsx")
        assert len(sheet.text) == 150
        assert sheet.truncated
        assert "only the first 150 characters are shown, up to row 3 of the sheet “Sales”" in sheet.notes[-1]
        assert sheet.for_model("sales.xlsx").endswith("“Sales”]\n[end of file]")
        pdf = await reader.read((CORPUS / "libreoffice-report.pdf").read_bytes(), "report.pdf")
        assert "up to page 1 of 2" in pdf.notes[-1]
        assert pdf.pages == 2
        text = await reader.read("é".encode() * 151, "long.txt")
        assert text.text == "é" * 150
        assert not (await reader.read(b"a" * 150, "short.txt")).truncated
    finally:
        await reader.close()


async def test_half_characters_and_zero_bytes_do_not_get_through(reader: DocumentReader) -> None:
    page = await reader.read(b"<!DOCTYPE html><p>a&#xD800;b&#0;c \xff</p>", "page.html")
    assert "\0" not in page.text
    page.text.encode()


async def test_blocks_of_any_size_make_the_same_document(reader: DocumentReader) -> None:
    data = (CORPUS / "libreoffice-talk.pptx").read_bytes()

    async def trickle() -> AsyncIterator[bytes]:
        for position in range(0, len(data), 1000):
            yield data[position : position + 1000]

    assert await reader.read(trickle(), "talk.pptx") == await reader.read(data, "talk.pptx")


def test_the_server_imports_no_parser() -> None:
    code = (
        "import sys, app.bootstrap, app.files.extracted_text, app.files.images\n"
        "parsers = {'pypdf', 'docx', 'openpyxl', 'pptx', 'lxml', 'bs4', 'markdownify', 'PIL'}\n"
        "print(sorted(parsers & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The texts beside the attachments

OWNER = Principal(key_id="k", name="test", scopes=frozenset(), username=None)


class CountingReader(DocumentReader):
    """Counts the documents that are really read."""

    reads = 0

    async def read(self, *args: Any, **options: Any) -> ExtractedText:
        self.reads += 1
        return await super().read(*args, **options)


class Harness:
    """A document service on a database made by the migrations, and what lies behind it."""

    def __init__(self, database_url: str, folder: Path, limits: DocumentLimits | None = None) -> None:
        self.database = open_database(database_url)
        self.files = FileService(
            self.database,
            open_storage(folder / "attachments"),
            Idempotency(self.database),
            StorageQuota(0),
            10 * 1024**2,
        )
        self.reader = CountingReader(limits, workers=1)
        self.documents = ExtractedTextService(self.database, self.files, self.reader)

    async def __aenter__(self) -> "Harness":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.documents.close()
        await self.database.close()

    async def save(self, content: bytes, name: str) -> Attachment:
        async def chunks() -> AsyncIterator[bytes]:
            yield content

        return await self.files.save(name, chunks(), OWNER)

    async def rows(self) -> list[Any]:
        return await self.database.read(lambda connection: list(connection.execute(select(AttachmentTextRow))))


@pytest.fixture
async def harness(database_url: str, tmp_path: Path) -> AsyncIterator[Harness]:
    async with Harness(database_url, tmp_path) as harness:
        yield harness


async def test_a_text_is_extracted_once_for_callers_at_once_and_later(
    harness: Harness, database_url: str, tmp_path: Path
) -> None:
    attachment = await harness.save((CORPUS / "libreoffice-report.docx").read_bytes(), "report.docx")
    texts = await asyncio.gather(*(harness.documents.text_of(attachment) for _ in range(5)))
    assert harness.reader.reads == 1
    assert all(text == texts[0] for text in texts)
    assert "# Quarterly report" in texts[0].text
    async with Harness(database_url, tmp_path) as restarted:
        assert await restarted.documents.text_of(attachment) == texts[0]
        assert restarted.reader.reads == 0


async def test_a_refusal_is_remembered_as_a_refusal(harness: Harness) -> None:
    attachment = await harness.save((CORPUS / "python-docx.docx").read_bytes()[:9000], "broken.docx")
    for _ in range(2):
        with pytest.raises(DocumentRefused, match=r"^broken\.docx cannot be read: it is damaged") as refusal:
            await harness.documents.text_of(attachment)
        assert refusal.value.status == 422
        assert refusal.value.code == "document_broken"
    assert harness.reader.reads == 1


async def test_other_limits_make_the_text_anew(harness: Harness, database_url: str, tmp_path: Path) -> None:
    attachment = await harness.save(b"a" * 100, "a.txt")
    assert not (await harness.documents.text_of(attachment)).truncated
    async with Harness(database_url, tmp_path, DocumentLimits(max_text_chars=10)) as smaller:
        assert (await smaller.documents.text_of(attachment)).text == "a" * 10
        assert len(await smaller.rows()) == 1


async def test_the_text_goes_with_the_attachment(harness: Harness) -> None:
    attachment = await harness.save(b"hello", "a.txt")
    await harness.documents.text_of(attachment)
    assert len(await harness.rows()) == 1
    await harness.files.delete(attachment.id, None)
    assert await harness.rows() == []


async def test_an_attachment_that_is_deleted_meanwhile_leaves_no_text(harness: Harness) -> None:
    attachment = await harness.save(b"hello", "a.txt")

    class DeletingReader(DocumentReader):
        async def read(self, *args: Any, **options: Any) -> ExtractedText:
            text = await super().read(*args, **options)
            await harness.files.delete(attachment.id, None)
            return text

    documents = ExtractedTextService(harness.database, harness.files, DeletingReader(workers=1))
    assert (await documents.text_of(attachment)).text == "hello"
    assert await harness.rows() == []
    await documents.close()


async def test_a_caller_that_leaves_does_not_spoil_it_for_the_others(harness: Harness) -> None:
    attachment = await harness.save(b"hello", "a.txt")
    leaving = asyncio.create_task(harness.documents.text_of(attachment))
    staying = asyncio.create_task(harness.documents.text_of(attachment))
    while not harness.reader.reads:
        await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).text == "hello"
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert harness.reader.reads == 1


async def test_a_storage_that_fails_is_no_refusal_and_is_not_remembered(harness: Harness, tmp_path: Path) -> None:
    attachment = await harness.save(b"hello", "a.txt")
    stored = tmp_path / "attachments" / attachment.storage_key
    stored.rename(tmp_path / "aside")
    with pytest.raises(Unavailable):
        await harness.documents.text_of(attachment)
    (tmp_path / "aside").rename(stored)
    assert (await harness.documents.text_of(attachment)).text == "hello"


async def test_images_and_sounds_are_no_documents(harness: Harness) -> None:
    attachment = await harness.save(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0", "a.png")
    with pytest.raises(DocumentRefused, match="it is no document") as refusal:
        await harness.documents.text_of(attachment)
    assert refusal.value.reason is Reason.UNSUPPORTED
    assert harness.reader.reads == 0
