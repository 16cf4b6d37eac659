"""What the dialect is called, where it is asked, and how its one operation is found."""

import subprocess
import sys

from ailink_provider.chat import Chat
from ailink_provider.dialects.openai_chat import DIALECT as CHAT_DIALECT
from ailink_provider.dialects.openai_responses import DIALECT

OPERATION = DIALECT.operations["responses"]


def test_the_operation_has_its_place() -> None:
    assert (OPERATION.name, OPERATION.speaks) == ("responses", Chat)
    assert OPERATION.path("a/model:1", True) == OPERATION.path("", False) == "/responses"


def test_one_operation_is_found_by_translation_and_by_pass_through() -> None:
    assert DIALECT.operations["chat"] is OPERATION
    assert DIALECT.operations[OPERATION.name] is OPERATION


def test_a_target_can_list_it_beside_chat_completions() -> None:
    both = {**DIALECT.operations, **CHAT_DIALECT.operations}
    assert both[OPERATION.name] is OPERATION
    assert both["chat"] is CHAT_DIALECT.operations["chat"]


def test_the_key_is_a_bearers() -> None:
    assert (DIALECT.name, DIALECT.credential_header) == ("openai_responses", ("authorization", "Bearer "))
    assert DIALECT.base_version == "/v1"


def test_no_header_that_travels_names_an_account_or_a_key() -> None:
    travelling = {*DIALECT.request_headers, *DIALECT.response_headers}
    assert travelling == {name.lower() for name in travelling}
    assert not travelling & {"authorization", "api-key", "x-api-key", "openai-organization", "openai-project", "cookie"}


def test_models_are_listed() -> None:
    assert DIALECT.write_models([("m", "us")]) == {
        "object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "us"}]}


def test_it_needs_no_other_dialect() -> None:
    script = ("import sys, ailink_provider.dialects.openai_responses; "
              "print(*[name for name, room in sys.modules.items() "
              "if name.startswith('ailink_provider.dialects.') and hasattr(room, '__path__')])")
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == ["ailink_provider.dialects.openai_responses"]
