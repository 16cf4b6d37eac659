"""The page about what becomes of every field is what the dialects do now."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ailink_provider.chat import Chat
from ailink_provider.registry import dialects

SCRIPT = Path(__file__).parents[2] / "packages/provider/generate_dialects.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_dialects", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(script: Any) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page()


def test_every_dialect_and_every_field_of_a_chat_is_in_it(script: Any) -> None:
    assert set(script.MODELS) == set(dialects())
    told = {"model", "dialect", "apart", "asides", "bound"}  # nothing that is asked of a model
    told |= {"include_usage", "legacy_functions"}  # how the client wants to be answered
    asked = set()
    for probe, base in script.PROBES.values():
        asked |= {name for name in Chat.__struct_fields__ if getattr(probe, name) != getattr(base, name)}
    assert asked | told == set(Chat.__struct_fields__)


@pytest.mark.parametrize(("name", "target", "expected"), [
    ("seed", "openai_chat", "mapped"), ("seed", "anthropic_messages", "reported"),
    ("n", "bedrock_converse", "refused"), ("tool, free text", "ollama", "emulated"),
    ("thought of another vendor's", "gemini", "–"), ("top_k", "anthropic_messages", "mapped / reported"),
])
def test_a_cell_says_what_the_dialect_does(script: Any, name: str, target: str, expected: str) -> None:
    assert script.cell(lambda model: script.PROBES[name], target) == expected
