"""Search by vectors alone: every passage compared with the question. The server itself never does only this."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import select

from app.knowledge.models import PassageRow, VectorRow
from bench.processes import BenchError
from bench.retrieval.evaluate import DEPTH, Asked
from bench.retrieval.library import PROVIDER, Embeddings, Library
from bench.retrieval.questions import Question


async def vector_places(library: Library, questions: Sequence[Question], embeddings: Embeddings) -> list[Asked]:
    """Where the right passages come, for the questions that have some."""
    answered = [question for question in questions if question.answers]
    query = select(PassageRow.document_id, PassageRow.text, VectorRow.vector).join(
        VectorRow, VectorRow.passage_id == PassageRow.id
    )
    rows = await library.database.read(lambda connection: connection.execute(query).all())
    passages = np.stack([np.frombuffer(row.vector, dtype="<f4") for row in rows])
    asked = []
    for question in answered:
        vector = await library.embedder.of_question(PROVIDER, embeddings.model, question.question)
        if vector is None:
            raise BenchError("the model server gave no vector for a question")
        order = np.argsort(-(passages @ np.frombuffer(vector, dtype="<f4")), kind="stable")[:DEPTH]
        right = [
            place
            for place, at in enumerate(order, 1)
            for answer in question.answers
            if library.names[rows[at].document_id] == answer.document and answer.contains in rows[at].text
        ]
        asked.append(Asked(question, min(right, default=0)))
    return asked
