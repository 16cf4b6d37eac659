"""Paths into a JSON document: ``a.b``, ``a[0].b``, ``a[*].b``. Reading, setting and removing what they lead to."""

import re
from copy import deepcopy
from typing import Any, Final, TypeAlias

from ailink_gateway.policy.shapes import refuse, shown

DEEPEST = 32
LAST_INDEX = 999


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


class _Every:
    def __repr__(self) -> str:
        return "[*]"


MISSING: Final = _Missing()
EVERY: Final = _Every()
Step: TypeAlias = "str | int | _Every"
Path: TypeAlias = tuple[Step, ...]

_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[([0-9]{1,3}|\*)\]")


def parse(text: str, place: str) -> Path:
    """Return the steps of a path. Refuses, naming ``place``, what is none."""
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            break
        position = found.end()
        if found[1] is not None:
            steps.append(found[1])
        else:
            steps.append(EVERY if found[2] == "*" else int(found[2]))
    if position < len(text) or not 0 < len(steps) <= DEEPEST:
        refuse(place, f'must be a path such as "a.b", "a[0].b" or "a[*].b", not {shown(text)}')
    return tuple(steps)


def spell(path: Path) -> str:
    """Return a path as it is written."""
    out = ""
    for step in path:
        out += f".{step}" if isinstance(step, str) else f"[{'*' if step is EVERY else step}]"
    return out.removeprefix(".")


def read(tree: Any, path: Path) -> Any:
    """Return what a path without ``[*]`` leads to, or MISSING."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(tree, dict) or step not in tree:
                return MISSING
            tree = tree[step]
        elif not isinstance(tree, list) or not isinstance(step, int) or step >= len(tree):
            return MISSING
        else:
            tree = tree[step]
    return tree


def read_all(tree: Any, path: Path) -> list[Any]:
    """Return everything that a path leads to."""
    found = [tree]
    for step in path:
        if step is EVERY:
            found = [entry for value in found if isinstance(value, list) for entry in value]
        else:
            found = [entry for value in found if (entry := read(value, (step,))) is not MISSING]
    return found


def write(tree: Any, path: Path, value: Any) -> Any:
    """Return ``tree`` with what the path leads to set to a copy of ``value``: objects and lists on the way are made,
    and take the place of what is neither. ``[*]`` is every entry that is there.
    """
    if not path:
        return deepcopy(value)
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        tree = tree if isinstance(tree, dict) else {}
        tree[step] = write(tree.get(step), rest, value)
    elif isinstance(step, int):
        tree = tree if isinstance(tree, list) else []
        tree.extend([None] * (step + 1 - len(tree)))
        tree[step] = write(tree[step], rest, value)
    elif isinstance(tree, list):
        tree[:] = [write(entry, rest, value) for entry in tree]
    return tree


def remove(tree: Any, path: Path) -> None:
    """Take away what the path leads to, if there is any."""
    parents = read_all(tree, path[:-1])
    last = path[-1]
    for parent in parents:
        if isinstance(last, str):
            if isinstance(parent, dict):
                parent.pop(last, None)
        elif isinstance(parent, list):
            if last is EVERY:
                parent.clear()
            elif isinstance(last, int) and last < len(parent):
                del parent[last]
