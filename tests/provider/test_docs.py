"""The page about providers of one's own is true: its Python blocks run, in order, as one program."""

import ast
import inspect
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from ailink_provider import factory

PAGE = Path(__file__).parents[2] / "docs/bring-your-own-provider.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


real = socket.getaddrinfo


def call_only_itself(host: Any, *arguments: Any, **named: Any) -> Any:
    assert host in ("127.0.0.1", b"127.0.0.1"), "the page calls nobody but the mock that it starts"
    return real(host, *arguments, **named)


async def test_every_block_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_API_KEY", "sk-an-example")
    monkeypatch.setattr(factory, "_registered", {})
    monkeypatch.setattr("socket.getaddrinfo", call_only_itself)
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "page"}
    ran = 0
    for found in BLOCK.finditer(text):
        language, code = found.groups()
        if language == "yaml":
            (tmp_path / code.split()[1]).write_text(code)
        elif language == "python":
            # Blank lines before it, so that a traceback's line is the page's.
            padded = "\n" * text.count("\n", 0, found.start(2)) + code
            compiled = compile(padded, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            block: Callable[[], Awaitable[None] | None] = FunctionType(compiled, names)
            done = block()
            if inspect.isawaitable(done):
                await done
            ran += 1
    assert ran == text.count("```python") > 8
