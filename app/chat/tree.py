"""The messages of a session as a tree: each edit and each new reply begins a branch, and one path is shown."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """A message's place; a parent has a lower id than its children."""

    id: int
    parent_id: int | None
    on_path: bool = False


class Tree:
    """The tree of one session."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._parents: dict[int, int | None] = {}
        self._children: defaultdict[int | None, list[int]] = defaultdict(list)
        self.path: set[int] = set()
        """The messages that are shown."""
        for node in nodes:
            self._parents[node.id] = node.parent_id
            self._children[node.parent_id].append(node.id)
            if node.on_path:
                self.path.add(node.id)

    def path_to(self, message_id: int) -> list[int]:
        """Return the messages from the root to this one."""
        path = [message_id]
        while (parent_id := self._parents[path[-1]]) is not None:
            path.append(parent_id)
        return path[::-1]

    def path_through(self, message_id: int) -> list[int]:
        """Return the path to a message, and from it on always to the newest."""
        path = self.path_to(message_id)
        while children := self._children.get(path[-1]):
            path.append(max(children))
        return path

    def children(self, message_id: int | None) -> Sequence[int]:
        """Return the ids of the messages behind this one; with None, those that begin a path."""
        return self._children.get(message_id, ())

    def changes(self, path: Iterable[int]) -> tuple[set[int], set[int]]:
        """Return the messages to show and those to hide, so that this path takes the place of the present one."""
        chosen = set(path)
        return chosen - self.path, self.path - chosen
