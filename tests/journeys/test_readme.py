"""The code in the READMEs runs as written, against `ailink dev`; only keys differ."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Gateway

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "packages/python/README.md"]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def development(start_gateway: Callable[..., Gateway]) -> Gateway:
    return start_gateway("dev")


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str, development: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"admin key\s+(\S+)\s+token\s+(\S+)", development.output)
    assert found
    for name, value in (("GATEWAY_URL", development.url), ("ADMIN_KEY", found[1]), ("TOKEN", found[2])):
        monkeypatch.setenv(f"AILINK_{name}", value)
    names: dict[str, Any] = {"__name__": "page"}
    code = blocks(page)
    assert code
    for block in code:
        block = block.replace("ailink_admin_...", found[1]).replace("ailink_v1_...", found[2])
        lines = re.sub(r'gateway_url="[^"]+"', f'gateway_url="{development.url}"', block)
        exec(compile(lines, page, "exec"), names)
    for value in list(names.values()):
        if hasattr(value, "close") and type(value).__module__.startswith(("ailink", "openai", "anthropic")):
            value.close()
