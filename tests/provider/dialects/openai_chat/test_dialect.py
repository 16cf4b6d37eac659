"""What the dialect is called, where it is asked, and how it shows its key."""

import subprocess
import sys

import pytest

from ailink_provider.chat import Chat, Embed
from ailink_provider.dialects.openai_chat import DIALECT


@pytest.mark.parametrize(("name", "path", "speaks"), [
    ("chat", "/chat/completions", Chat), ("completions", "/completions", Chat), ("embeddings", "/embeddings", Embed),
])
def test_an_operation_has_its_place(name: str, path: str, speaks: type) -> None:
    operation = DIALECT.operations[name]
    assert (operation.name, operation.speaks) == (name, speaks)
    assert operation.path("a/model:1", True) == operation.path("", False) == path


def test_the_key_is_a_bearers() -> None:
    assert (DIALECT.name, DIALECT.credential_header) == ("openai_chat", ("authorization", "Bearer "))


def test_no_header_that_travels_names_an_account_or_a_key() -> None:
    travelling = {*DIALECT.request_headers, *DIALECT.response_headers}
    assert travelling == {name.lower() for name in travelling}
    assert not travelling & {"authorization", "api-key", "x-api-key", "openai-organization", "openai-project", "cookie"}


def test_it_needs_no_other_dialect() -> None:
    script = ("import sys, ailink_provider.dialects.openai_chat; "
              "print(*[name for name, room in sys.modules.items() "
              "if name.startswith('ailink_provider.dialects.') and hasattr(room, '__path__')])")
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == ["ailink_provider.dialects.openai_chat"]
