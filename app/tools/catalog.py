"""All tools there are: Palaver's own, and those of MCP servers."""

from collections.abc import Sequence
from typing import Protocol

from app.tools.models import MAX_TOOLS, Tool, ToolPolicy


class ToolSource(Protocol):
    """A place that tools come from; what it has may change at any time."""

    @property
    def tools(self) -> Sequence[Tool]: ...


class ToolCatalog:
    """Tools by name, from several sources; the first source of a name wins."""

    def __init__(self, tools: Sequence[Tool], sources: Sequence[ToolSource] = ()) -> None:
        self._tools = list(tools)
        self._sources = sources

    def add(self, tool: Tool) -> None:
        """Add a tool that needs something made after the catalog."""
        self._tools.append(tool)

    @property
    def tools(self) -> Sequence[Tool]:
        by_name = {tool.spec.name: tool for tool in self._tools}
        for source in self._sources:
            for tool in source.tools:
                by_name.setdefault(tool.spec.name, tool)
        return list(by_name.values())

    def find(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.spec.name == name), None)

    def select(self, policy: ToolPolicy) -> Sequence[Tool]:
        """The tools that a policy admits, MAX_TOOLS at most."""
        return [tool for tool in self.tools if policy.admits(tool.spec.name)][:MAX_TOOLS]
