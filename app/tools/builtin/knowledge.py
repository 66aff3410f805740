"""The tool `search_knowledge`."""

from collections.abc import Mapping
from typing import Any

from app.knowledge.search import MAX_QUERY_CHARS
from app.knowledge.service import KnowledgeService
from app.tools.models import CallContext, ToolError, ToolResult, ToolSpec
from app.workers.turns import Caller

MAX_PASSAGES = 20
DEFAULT_PASSAGES = 5


class KnowledgeSearch:
    """Searches the collections that the user of the session may see, or those of them that the profile names."""

    timeout_seconds = 30.0
    spec = ToolSpec(
        "search_knowledge",
        "Searches the knowledge base, and returns the passages that match best, each with its source.",
        {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_QUERY_CHARS,
                    "description": "The question, or its keywords, in the language of the documents.",
                },
                "passages": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_PASSAGES,
                    "description": f"The most passages to return; {DEFAULT_PASSAGES} if left out.",
                },
            },
            "required": ["query"],
            "additionalProperties": False,
        },
    )

    def __init__(self, knowledge: KnowledgeService) -> None:
        self._knowledge = knowledge

    async def call(self, arguments: Mapping[str, Any], context: CallContext) -> ToolResult:
        if context.collections:
            collections = await self._knowledge.find_collections(context.collections, context.username)
        else:
            collections = await self._knowledge.visible_to(context.username)
        if not collections:
            raise ToolError("There is no collection to search")
        passages = await self._knowledge.retrieve(
            arguments["query"],
            [each.id for each in collections],
            arguments.get("passages", DEFAULT_PASSAGES),
            Caller(context.key_id, context.username),
        )
        if not passages:
            return ToolResult("No passage matches.")
        return ToolResult("", passages=passages)
