import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ailink_gateway.store.store import Store


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at the newest revision with nothing in it but what the migrations make."""
    path = tmp_path_factory.mktemp("upgraded") / "ailink.db"
    store = Store(path)
    store.upgrade()
    store.close()
    return path


@pytest.fixture
def store(upgraded: Path, tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "ailink.db"
    shutil.copy(upgraded, path)
    store = Store(path)
    yield store
    store.close()


@pytest.fixture
def token() -> Callable[..., dict[str, Any]]:
    """Makes the row of a token, in words of the table."""
    def make(number: int = 1, **fields: Any) -> dict[str, Any]:
        return {
            "id": f"tok_{number:012}", "project_id": "default", "name": f"token-{number}",
            "fingerprint": b"%032d" % number, "allowed_models": [], "scopes": [], "policy_ids": [], "raw_paths": False,
            "allow_upstream_key": False, "strict_parameters": False, "circuit_breaker": {"enabled": True},
            "is_active": True, "created_at": float(number), **fields,
        }
    return make


@pytest.fixture
def credential() -> Callable[..., dict[str, Any]]:
    """Makes the row of a credential."""
    def make(number: int = 1, **fields: Any) -> dict[str, Any]:
        return {
            "id": f"cred_{number}", "project_id": "default", "name": f"credential-{number}", "provider": "generic",
            "injection": "bearer", "sealed": b"sealed", "key_id": "00", "created_at": float(number), **fields,
        }
    return make


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Makes an audit row with little in it."""
    def make(number: int = 1, **fields: Any) -> dict[str, Any]:
        return {
            "id": f"req_{number:06}", "created_at": float(number), "method": "POST", "path": "/v1/chat/completions",
            "outcome": "answered", **fields,
        }
    return make
