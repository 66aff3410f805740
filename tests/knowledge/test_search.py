"""Searching, on real databases."""

import json
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Executable, Row, Select, delete, func, insert, select, table, update

from app.database.engine import Database, open_database
from app.knowledge.index import insert_passages, with_terms
from app.knowledge.models import CollectionRow, DocumentRow, DocumentStatus, PassageItem, PassageRow, VectorRow
from app.knowledge.search import Searcher
from app.knowledge.vectors import Embedder, EmbeddingsFailed
from app.providers.models import ProviderSpec
from app.providers.service import ProviderRegistry
from tests.support import answers
from tests.support.answers import Answer
from tests.support.model_server import ModelServer

OPERATORS = [
    '"',
    '""',
    "oil*",
    "NEAR(oil filter)",
    "-oil",
    "oil AND NOT filter",
    "body: oil",
    "^oil",
    "{body} : oil",
    'oil" OR "x',
    "oil + filter",
    "(((",
    "'; DROP TABLE knowledge_terms; --",
    "oil\x00filter",
    "😀",
    "😀 oil",
    "\ud800 oil",
    "§scope",
    "\\",
    "oil:*",
    "oil & !filter | <->",
    " ",
    "",
]


class Library:
    """A database with documents in it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.searcher = Searcher(database)

    async def collection(self, id: str, *, provider: str | None = None) -> None:
        now = datetime.now(UTC)
        values = {"id": id, "owner": "", "name": id, "created_at": now, "updated_at": now}
        model = "embedder" if provider else None
        await self.execute(insert(CollectionRow).values(**values, embedding_provider=provider, embedding_model=model))

    async def document(
        self,
        collection_id: str,
        passages: Sequence[str],
        *,
        title: str = "",
        heading: str = "",
        status: str = "ready",
        embedder: Embedder | None = None,
    ) -> str:
        id, now = str(uuid4()), datetime.now(UTC)
        prepared = with_terms([PassageItem(at, heading, passage) for at, passage in enumerate(passages)], title)
        vectors = await embedder.of_passages("p", "embedder", prepared) if embedder else []
        values = {"title": title, "media_type": "text/plain", "size": 1, "created_at": now, "updated_at": now}
        statement = insert(DocumentRow).values(
            id=id, collection_id=collection_id, sha256=id, status=status, passage_count=len(passages), **values
        )

        def write(connection: Connection) -> None:
            connection.execute(statement)
            insert_passages(connection, id, collection_id, prepared, vectors)

        await self.database.write(write)
        return id

    async def execute(self, statement: Executable) -> None:
        await self.database.write(lambda connection: connection.execute(statement))

    async def rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        return await self.database.read(lambda connection: connection.execute(statement).all())

    async def texts(self, query: str, *collections: str, limit: int = 5, relevant_only: bool = False) -> list[str]:
        passages = await self.searcher.search(query, collections or ("c",), limit, relevant_only=relevant_only)
        scores = [passage.score for passage in passages]
        assert all(0 < score <= 1 for score in scores)
        assert scores == sorted(scores, reverse=True)
        return [passage.text for passage in passages]


@pytest.fixture
async def library(database_url: str) -> AsyncIterator[Library]:
    database = open_database(database_url)
    library = Library(database)
    await library.collection("c")
    yield library
    await database.close()


CAR = [
    "Change the engine oil every 10,000 km and replace the oil filter.",
    "Check the pressure of the tyres once a month.",
    "The coolant is filled in at the blue cap.",
    "Error E-1042 means that the battery is empty.",
    "Wash the car with plenty of water.",
]
PUMP = ["水泵的额定压力是三巴。", "电机每年润滑一次。", "过滤网需要每月清洗。", "控制面板显示故障代码。"]


async def test_best_passage_comes_first(library: Library) -> None:
    await library.document("c", CAR)
    assert (await library.texts("How do I change the oil filter?"))[0] == CAR[0]
    assert (await library.texts("tyre pressures"))[0] == CAR[1]
    assert await library.texts("e1042") == [CAR[3]]
    assert await library.texts("unicorn") == []


async def test_chinese_is_found_by_words_and_by_single_characters(library: Library) -> None:
    await library.document("c", PUMP)
    assert (await library.texts("水泵的压力是多少？"))[0] == PUMP[0]
    assert await library.texts("泵") == [PUMP[0]]
    assert await library.texts("巴") == [PUMP[0]]
    assert await library.texts("鱼") == []


async def test_what_is_found_says_where_it_is_from(library: Library) -> None:
    document = await library.document("c", CAR, title="Manual", heading="Care > Engine")
    (passage,) = await library.searcher.search("coolant", ["c"])
    assert (passage.document_id, passage.collection_id, passage.collection) == (document, "c", "c")
    assert (passage.title, passage.position, passage.heading) == ("Manual", 2, "Care > Engine")
    assert passage.text == CAR[2]


async def test_titles_and_headings_count(library: Library) -> None:
    await library.document("c", ["Twelve months."], title="Brisa 200", heading="Warranty")
    await library.document("c", ["Twenty months."], title="Brisa 400", heading="Warranty")
    assert (await library.texts("warranty of the Brisa 400"))[0] == "Twenty months."


async def test_only_named_collections_and_ready_documents_are_searched(library: Library) -> None:
    await library.collection("other")
    await library.document("other", ["oil of another collection"])
    await library.document("c", ["oil that is not ready"] * 100, status=DocumentStatus.INDEXING)
    document = await library.document("c", ["oil at last"])
    assert await library.texts("oil") == ["oil at last"]
    assert len(await library.texts("oil", "c", "other")) == 2
    assert await library.texts("oil", "nowhere") == []
    assert await library.searcher.search("oil", []) == []
    await library.execute(update(DocumentRow).where(DocumentRow.id == document).values(status="failed"))
    assert await library.texts("oil") == []


async def test_unready_passages_crowd_nothing_out(library: Library) -> None:
    await library.document("c", ["oil oil oil"] * 1_500, status=DocumentStatus.INDEXING)
    await library.document("c", ["a little oil among many other words of no interest at all"])
    assert len(await library.texts("oil")) == 1


async def test_deleted_documents_are_gone_at_once(library: Library) -> None:
    document = await library.document("c", CAR)
    await library.execute(delete(DocumentRow).where(DocumentRow.id == document))
    assert await library.texts("oil") == []
    for name in ("knowledge_terms", "knowledge_passages"):
        assert await library.rows(select(func.count()).select_from(table(name))) == [(0,)]


async def test_ids_are_not_given_twice(library: Library) -> None:
    document = await library.document("c", ["one"])
    ((first,),) = await library.rows(select(PassageRow.id))
    await library.execute(delete(DocumentRow).where(DocumentRow.id == document))
    await library.document("c", ["one"])
    ((second,),) = await library.rows(select(PassageRow.id))
    assert second > first


@pytest.mark.parametrize("query", OPERATORS)
async def test_query_language_of_the_index_cannot_be_reached(library: Library, query: str) -> None:
    await library.document("c", CAR)
    expected = [CAR[0]] if "oil" in query else []
    assert (await library.texts(query))[:1] == expected


async def test_endless_queries_are_answered_from_their_ends(library: Library) -> None:
    await library.document("c", CAR)
    assert (await library.texts("coolant " + "x" * 1_000_000 + " tyres")) != []
    assert await library.texts("word" + " other" * 200_000) == []
    assert (await library.texts("".join(map(chr, range(0x4E00, 0x9000))))) == []


async def test_questions_of_nothing_but_common_words_are_answered(library: Library) -> None:
    await library.document("c", [f"The pump number {n} is here" for n in range(50)])
    assert len(await library.texts("the")) == 5
    assert len(await library.texts("the pump is here")) == 5


async def test_frequent_terms_of_large_collections_are_bounded_and_still_found(library: Library) -> None:
    await library.document("c", [f"common shared text w{n % 97} v{n}" for n in range(9_000)])
    assert len(await library.texts("common")) == 5
    assert len(await library.texts("common shared")) == 5
    assert (await library.texts("common shared v4711"))[0] == "common shared text w55 v4711"
    await library.collection("small")
    await library.document("small", ["common again"])
    assert await library.texts("common", "small") == ["common again"]


async def test_nothing_relevant_means_nothing(library: Library) -> None:
    await library.document("c", [*CAR, *PUMP])
    for question in ("Who wrote the Iliad?", "hello, how are you today?", "the", "法国的首都在哪里？", "你好"):
        assert await library.texts(question, relevant_only=True) == []
    assert (await library.texts("When must I replace the filter of the oil?", relevant_only=True))[0] == CAR[0]
    assert (await library.texts("What does E-1042 stand for?", relevant_only=True))[0] == CAR[3]
    assert (await library.texts("水泵压力多少", relevant_only=True))[0] == PUMP[0]


# Embeddings. The scripted embedding of a text is what the test says; of any other text, the axis of its first letter.


def axis(text: str) -> list[float]:
    return [1.0 if at == ord(text[:1] or "a") % 26 else 0.01 for at in range(26)]


def embedded(vectors: Sequence[Sequence[float]]) -> Answer:
    data = [{"object": "embedding", "index": at, "embedding": list(vector)} for at, vector in enumerate(vectors)]
    return answers.raw(json.dumps({"object": "list", "data": data}).encode(), "application/json")


def by_first_letter(body: Any) -> Answer:
    return embedded([axis(text) for text in body["input"]])


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.default = by_first_letter
        yield server


@pytest.fixture
async def embedder(model: ModelServer) -> AsyncIterator[Embedder]:
    spec = ProviderSpec(id="p", base_url=model.base_url, default_model="m", max_retries=0)
    providers = ProviderRegistry([spec])
    yield Embedder(providers, question_seconds=2.0, rest_seconds=0.0)
    await providers.close()


@pytest.fixture
async def meanings(library: Library, embedder: Embedder) -> Library:
    await library.collection("v", provider="p")
    await library.document("v", ["apple", "bread", "cherry", "dates", "cider"], embedder=embedder)
    library.searcher = Searcher(library.database, embedder)
    return library


async def test_meanings_are_found_without_a_common_word(meanings: Library) -> None:
    assert set(await meanings.texts("crimson fruit", "v", limit=2)) == {"cherry", "cider"}


async def test_both_rankings_are_fused(meanings: Library) -> None:
    passages = await meanings.searcher.search("cider", ["v"], limit=3)
    assert passages[0].text == "cider"
    assert passages[0].score > 0.99
    assert passages[1].text == "cherry"


async def test_new_and_deleted_vectors_count_at_once(meanings: Library, embedder: Embedder) -> None:
    await meanings.texts("z", "v")
    document = await meanings.document("v", ["zebra", "zoo"], embedder=embedder)
    assert set(await meanings.texts("zest", "v", limit=2)) == {"zebra", "zoo"}
    await meanings.execute(delete(DocumentRow).where(DocumentRow.id == document))
    assert not {"zebra", "zoo"} & set(await meanings.texts("zest", "v", limit=5))
    await meanings.document("v", ["zinc"], embedder=embedder)
    assert (await meanings.texts("zest", "v", limit=1)) == ["zinc"]


NONSENSE: dict[str, Callable[[], Answer]] = {
    "none": lambda: embedded([]),
    "two": lambda: embedded([axis("a"), axis("b")]),
    "another length": lambda: embedded([[1.0, 2.0]]),
    "no length": lambda: embedded([[]]),
    "zero": lambda: embedded([[0.0] * 26]),
    "infinite": lambda: answers.raw(b'{"data":[{"index":0,"embedding":[1e999]}]}', "application/json"),
    "nan": lambda: answers.raw(b'{"data":[{"index":0,"embedding":[NaN]}]}', "application/json"),
    "words": lambda: answers.raw(b'{"data":[{"index":0,"embedding":["a"]}]}', "application/json"),
    "no json": lambda: answers.raw(b"\xff{{", "application/json"),
    "html": answers.html,
    "failure": lambda: answers.status(500),
    "refusal": lambda: answers.status(404),
    "silence": answers.hang,
}


@pytest.mark.databases("sqlite")  # the database has no part in it
@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
async def test_broken_embedding_server_leaves_the_search_by_words(
    meanings: Library, model: ModelServer, answer: Callable[[], Answer]
) -> None:
    model.script(answer())
    assert await meanings.texts("cherry", "v") == ["cherry"]


@pytest.mark.parametrize(
    ("answer", "temporary"),
    [(answers.status(503), True), (answers.status(429), True), (answers.status(404), False), (embedded([]), False)],
)
async def test_indexing_hears_of_failed_embeddings(
    embedder: Embedder, model: ModelServer, answer: Answer, temporary: bool
) -> None:
    model.script(answer)
    with pytest.raises(EmbeddingsFailed) as failure:
        await embedder.of_passages("p", "embedder", with_terms([PassageItem(0, "", "text")]))
    assert failure.value.is_temporary is temporary
    with pytest.raises(EmbeddingsFailed, match="not configured"):
        await embedder.of_passages("gone", "embedder", with_terms([PassageItem(0, "", "text")]))


async def test_vectors_are_stored_with_length_one(meanings: Library) -> None:
    vectors = await meanings.rows(select(VectorRow.vector))
    assert len(vectors) == len(await meanings.rows(select(PassageRow.id))) == 5
    for (vector,) in vectors:
        numbers = struct.unpack("<26f", vector)
        assert sum(number * number for number in numbers) == pytest.approx(1.0, abs=1e-5)
