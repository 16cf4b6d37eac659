"""YAML with the lines that its values stand on, for messages that say where; plain data only.

Aliases, anchors, tags, repeated keys, several documents and deep nesting are refused: none of them is needed in a
configuration, and some of them make a small file mean a lot. A refusal never quotes a value.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ailink_provider.errors import Failure

DEPTH_LIMIT = 16
_KINDS = ("null", "bool", "int", "float")

Refusal = Callable[[int, str, str], Failure]
"""Makes the failure for a line (0: the file), a dotted key ("": none) and what is wrong there."""


class Node(NamedTuple):
    """A value and the line that it stands on, from 1. Members of mappings and sequences are nodes."""

    value: Any
    line: int


def read_yaml(text: str, refusal: Refusal, depth: int = DEPTH_LIMIT) -> Node:
    """Return the only document of ``text``, nested up to ``depth``; a node of None if there is none.

    Raises what ``refusal`` makes; ``Failure`` (``internal_error``) if the package ``pyyaml`` is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise Failure(
            "internal_error", "Reading a configuration file needs the package 'pyyaml': install it beside "
            "ailink-provider.",
        ) from None
    try:
        # libyaml's parser takes a twentieth of the time; it is missing where pyyaml was built without it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return _Composer(yaml, loader(text), refusal, depth).root()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise refusal(mark.line + 1 if mark else 0, "", "this is not valid YAML") from None
    except yaml.YAMLError:
        raise refusal(0, "", "this is not YAML: it holds characters that no text has") from None


class _Composer:
    """Composes nodes from the events of a parser."""

    def __init__(self, yaml: Any, loader: Any, refusal: Refusal, depth: int) -> None:
        self._yaml, self._loader, self._refusal, self._depth = yaml, loader, refusal, depth

    def root(self) -> Node:
        """Return the document."""
        root: Node | None = None
        while not self._loader.check_event(self._yaml.StreamEndEvent):
            event = self._loader.get_event()
            if isinstance(event, self._yaml.NodeEvent | self._yaml.CollectionStartEvent):
                root = self._node(event, "", 0)
            elif isinstance(event, self._yaml.DocumentStartEvent) and root is not None:
                raise self._refusal(_line(event), "", "a second document begins here: keep one")
        return root or Node(None, 1)

    def _node(self, event: Any, where: str, depth: int) -> Node:
        yaml, line = self._yaml, _line(event)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._refusal(line, where, "aliases (*name, &name) are not taken: write the value out")
        if event.tag is not None:
            raise self._refusal(line, where, "tags (!name) are not taken")
        if depth > self._depth:
            raise self._refusal(line, where, f"this is nested deeper than {self._depth}")
        if isinstance(event, yaml.ScalarEvent):
            return Node(self._scalar(event), line)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(list(self._items(where, depth)), line)
        return Node(self._members(where, depth), line)

    def _items(self, where: str, depth: int) -> Iterator[Node]:
        while not isinstance(event := self._loader.get_event(), self._yaml.SequenceEndEvent):
            yield self._node(event, where, depth + 1)

    def _members(self, where: str, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        while not isinstance(event := self._loader.get_event(), self._yaml.MappingEndEvent):
            name = self._node(event, where, depth + 1)
            if not isinstance(name.value, str) or name.value in members or name.value == "<<":
                raise self._refusal(name.line, where, "a key must be text, stand once and not be '<<'")
            inner = f"{where}.{name.value}".lstrip(".")
            members[name.value] = self._node(self._loader.get_event(), inner, depth + 1)
        return members

    def _scalar(self, event: Any) -> Any:
        tag = self._loader.resolve(self._yaml.ScalarNode, event.value, event.implicit)
        if tag.rpartition(":")[2] not in _KINDS:
            return event.value
        try:
            return self._loader.construct_object(self._yaml.ScalarNode(tag, event.value))
        except ValueError:
            return event.value  # a number of too many digits


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def plain(node: Node) -> Any:
    """Return the value of a node as plain mappings, sequences and scalars, without lines."""
    if isinstance(node.value, dict):
        return {name: plain(member) for name, member in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, list) else node.value
