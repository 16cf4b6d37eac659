"""The house keeps its own rules: which way imports run, who reads the environment, where a vendor's name may stand."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROVIDER = ROOT / "packages/provider/ailink_provider"
GATEWAY = ROOT / "packages/gateway/ailink_gateway"
CLIENT = ROOT / "packages/python/ailink"

# folder or file -> what nothing in it may import
FORBIDDEN = {
    PROVIDER: ("ailink_gateway", "ailink.", "fastapi", "sqlalchemy", "uvicorn"),
    PROVIDER / "chat.py": ("ailink_provider.dialects", "ailink_provider.providers", "ailink_provider.transport"),
    PROVIDER / "dialects": ("ailink_provider.providers", "ailink_provider.transport", "ailink_provider.registry"),
    PROVIDER / "transport": ("ailink_provider.dialects", "ailink_provider.providers", "ailink_provider.chat"),
    GATEWAY / "stages": (
        "ailink_gateway.control",
        "ailink_gateway.store",
        "ailink_gateway.backends",
        "ailink_gateway.app.",
        "sqlalchemy",
        "fastapi",
    ),
    GATEWAY / "store": ("ailink_gateway.control", "ailink_gateway.stages", "ailink_gateway.backends", "fastapi"),
    GATEWAY / "control": (
        "ailink_gateway.stages",
        "ailink_gateway.backends",
        "ailink_gateway.pipeline",
        "ailink_gateway.app.",
    ),
    GATEWAY / "ports.py": ("ailink_gateway.backends", "ailink_gateway.store", "ailink_gateway.control"),
    CLIENT: ("ailink_gateway", "ailink_provider"),
}
LATER = {CLIENT: ("openai", "anthropic")}
VENDORS = re.compile(r"\b(openai|anthropic|claude|gemini|gpt|google|openrouter|mistral|groq)", re.IGNORECASE)


def modules(where: Path) -> Iterator[Path]:
    yield from [where] if where.is_file() else where.rglob("*.py")


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("where", FORBIDDEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(where: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(where)
        for name in imports(path)
        if name.startswith(FORBIDDEN[where])
    ]
    assert not found


def test_dialects_and_stages_know_none_of_their_own() -> None:
    for folder, package in (
        (PROVIDER / "dialects", "ailink_provider.dialects"),
        (GATEWAY / "stages", "ailink_gateway.stages"),
    ):
        rooms = {path.stem for path in folder.iterdir() if path.is_dir() or package.endswith("stages")} - {
            "__init__",
            "__pycache__",
        }
        for path in modules(folder):
            mine = path.relative_to(folder).parts[0].removesuffix(".py")
            for name in imports(path):
                other = name.removeprefix(f"{package}.").split(".")[0] if name.startswith(f"{package}.") else mine
                assert other == mine or other not in rooms, f"{path.relative_to(ROOT)} imports {name}"


def test_the_client_needs_no_vendor_sdk() -> None:
    for path in modules(CLIENT):
        assert not [name for name in imports(path, top_level_only=True) if name.split(".")[0] in LATER[CLIENT]], path


def test_only_settings_and_the_command_line_read_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for folder in (PROVIDER, GATEWAY)
        for path in modules(folder)
        if re.search(r"os\.environ|getenv", path.read_text(encoding="utf-8"))
    }
    assert readers <= {"packages/gateway/ailink_gateway/cli.py", "packages/provider/ailink_provider/config.py"}


def test_vendors_are_named_only_where_they_live() -> None:
    allowed = ("dialects/", "providers/", "testing/", "builtin.py", "routes.py", "catalog.py", "prices.py")
    for folder in (PROVIDER, GATEWAY):
        for path in modules(folder):
            if path.relative_to(folder).as_posix().startswith(allowed):
                continue
            # Comments, docstrings and messages for people may give examples; code may not decide by a vendor's name.
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Compare | ast.Call | ast.Dict | ast.Set | ast.Tuple | ast.List):
                    for constant in ast.walk(node):
                        if (
                            isinstance(constant, ast.Constant)
                            and isinstance(constant.value, str)
                            and " " not in constant.value
                        ):
                            assert not VENDORS.search(constant.value), (
                                f"{path.relative_to(ROOT)}:{constant.lineno} {constant.value!r}"
                            )


def test_the_lock_covers_what_the_packages_declare() -> None:
    declared: set[str] = set()
    for name in ("provider", "gateway", "python"):
        project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        declared.update(requirement for requirement in project["dependencies"] if not requirement.startswith("ailink"))
    wanted = {
        line
        for line in (ROOT / "locks/runtime.in").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    assert declared == wanted
    for lock in ("runtime.txt", "development.txt"):
        text = (ROOT / "locks" / lock).read_text(encoding="utf-8")
        assert "://" not in text and "--index" not in text and "--find-links" not in text, (
            "a lock file records no address"
        )
        pins = re.findall(r"^([a-z0-9_.-]+)(\[[a-z,]+\])?==", text, re.MULTILINE | re.IGNORECASE)
        assert len(pins) == len(re.findall(r"==[^ ]+ \\\n    --hash=", text)), "every pin has its hashes"


def test_modules_say_what_they_are() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for folder in (PROVIDER, GATEWAY, CLIENT)
        for path in modules(folder)
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_no_room_is_called_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base", "v2"}
    assert not [path for path in (ROOT / "packages").rglob("*.py") if path.stem in vague and ".venv" not in path.parts]
