"""Configuration files: the documents' example as written, what is missing, what is refused, and what is never said."""

import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_provider import ProviderConfig, config, load_config
from ailink_provider.errors import Failure

EXAMPLE = """\
# axonflow.yaml
version: "1.0"

llm_providers:
  my_custom_provider:
    enabled: true
    display_name: "My Custom LLM"
    config:
      model: "my-model-v1"
      endpoint: "https://api.myprovider.com/v1"
      max_tokens: 4096
    credentials:
      api_key: ${MY_PROVIDER_API_KEY}
    priority: 10
    weight: 0.5

  ollama_local:
    enabled: true
    display_name: "Ollama (Local)"
    config:
      endpoint: ${OLLAMA_ENDPOINT:-http://localhost:11434}
      model: ${OLLAMA_MODEL:-llama3.1:70b}
    priority: 5
    weight: 0.3
"""
SECRET = "sk-a-very-secret-key"

Load = Callable[..., list[ProviderConfig]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, environment: Mapping[str, str] | None = None) -> list[ProviderConfig]:
        path = tmp_path / "ailink.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, environment or {})

    return load


def one(body: str) -> str:
    return f"llm_providers:\n  mine:\n{body}"


# --- what it says --------------------------------------------------------------------------------


def test_the_documents_example(load: Load) -> None:
    custom, local = load(EXAMPLE, {"MY_PROVIDER_API_KEY": SECRET})
    assert custom == ProviderConfig(
        "my_custom_provider", "custom", SECRET, "my-model-v1", "https://api.myprovider.com/v1", True, 10, 0.5,
        "My Custom LLM", 4096,
    )
    assert local == ProviderConfig(
        "ollama_local", "custom", "", "llama3.1:70b", "http://localhost:11434", True, 5, 0.3, "Ollama (Local)",
    )
    assert SECRET not in repr(custom)


def test_variables_win_over_their_defaults(load: Load) -> None:
    _, local = load(EXAMPLE, {"OLLAMA_ENDPOINT": "http://gpu:1/v1", "OLLAMA_MODEL": "qwen"})
    assert (local.endpoint, local.model) == ("http://gpu:1/v1", "qwen")
    _, local = load(EXAMPLE, {"OLLAMA_MODEL": ""})
    assert local.model == "llama3.1:70b"


def test_an_unset_key_disables_with_a_warning(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    custom, local = load(EXAMPLE)
    assert (custom.enabled, custom.api_key, local.enabled) == (False, "", True)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "llm_providers.my_custom_provider" in record.getMessage() and "MY_PROVIDER_API_KEY" in record.getMessage()


def test_what_is_off_gives_no_warning(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    [mine] = load(one("    enabled: false\n    credentials: {api_key: '${UNSET}'}\n"))
    assert not mine.enabled and not caplog.records


def test_any_unset_variable_disables(load: Load) -> None:
    [mine] = load(one("    config: {endpoint: 'https://${HOST}/v1', max_tokens: '${MAX}', list: ['${X}']}\n"))
    assert (mine.enabled, mine.endpoint, mine.max_tokens) == (False, "", None)


def test_the_type_is_the_known_name_or_what_is_said(load: Load) -> None:
    text = (
        "llm_providers:\n  anthropic:\n    credentials: {api_key: k}\n  fast:\n    type: groq\n"
        "    credentials: {api_key: k}\n  other:\n    type: klingon\n  plain:\n"
    )
    assert [(entry.name, entry.type, entry.enabled) for entry in load(text)] == [
        ("anthropic", "anthropic", True), ("fast", "groq", True), ("other", "klingon", True), ("plain", "custom", True),
    ]


def test_a_known_provider_takes_its_own_variable(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    text = "llm_providers: {anthropic: {}, ollama: {config: {endpoint: 'http://localhost:11434'}}}"
    with_key, _ = load(text, {"ANTHROPIC_API_KEY": SECRET})
    assert (with_key.api_key, with_key.enabled) == (SECRET, True)
    without, local = load(text)
    assert (without.enabled, local.enabled) == (False, True)
    assert "ANTHROPIC_API_KEY" in caplog.text


def test_values_from_variables_become_what_is_needed(load: Load) -> None:
    text = one("    enabled: ${ON}\n    priority: ${P:-7}\n    weight: ${W:-0.25}\n    config: {timeout: '${T}'}\n")
    [mine] = load(text, {"ON": "true", "T": "2.5"})
    assert (mine.enabled, mine.priority, mine.weight, mine.timeout) == (True, 7, 0.25, 2.5)
    [mine] = load(text, {"ON": "false", "T": "1"})
    assert not mine.enabled


def test_a_variable_is_a_value_and_never_syntax(load: Load) -> None:
    [mine] = load(one("    display_name: ${NAME}\n"), {"NAME": "a: {b: 1}\n  evil: &x ${OTHER}"})
    assert mine.display_name == "a: {b: 1}\n  evil: &x ${OTHER}"


def test_what_a_factory_may_want_is_kept(load: Load) -> None:
    [mine] = load(one("    config: {model: m, region: eu, tiers: [1, {a: true}]}\n"
                      "    credentials: {api_key: k, session: '${S}'}\n"), {"S": SECRET})
    assert mine.settings == {"region": "eu", "tiers": [1, {"a": True}]}
    assert mine.credentials == {"session": SECRET} and SECRET not in repr(mine)


def test_an_empty_default_is_a_value(load: Load) -> None:
    [mine] = load(one("    display_name: 'x${SUFFIX:-}'\n"))
    assert mine.display_name == "x" and mine.enabled


@pytest.mark.parametrize("text", ["", "# nothing\n", "version: 1.0\n", "llm_providers:\n", "version: 1\na: {b: c}\n"])
def test_no_providers_are_none(load: Load, text: str) -> None:
    assert load(text) == []


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ailink.yaml"
    path.write_text(EXAMPLE)
    monkeypatch.setenv("MY_PROVIDER_API_KEY", SECRET)
    assert load_config(str(path))[0].api_key == SECRET
    monkeypatch.delenv("MY_PROVIDER_API_KEY")
    assert load_config(path)[0].api_key == ""


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "line", "key"), [
    ('version: "2.0"\n', 1, "version"),
    ("llm_providers: [a]\n", 1, "llm_providers"),
    ("- a\n", 1, ""),
    ("\nllm_providers:\n  mine: text\n", 3, "llm_providers.mine"),
    (one("    weight: 1\n    priorty: 1\n"), 4, "llm_providers.mine.priorty"),
    (one("    enabled: true\n    priority: high\n"), 4, "llm_providers.mine.priority"),
    (one("    weight: -1\n"), 3, "llm_providers.mine.weight"),
    (one("    priority: 1\n    weight: .inf\n"), 4, "llm_providers.mine.weight"),
    (one("    weight: .nan\n"), 3, "llm_providers.mine.weight"),
    (one("    config:\n      max_tokens: 0\n"), 4, "llm_providers.mine.config.max_tokens"),
    (one("    config:\n      model: 5\n"), 4, "llm_providers.mine.config.model"),
    (one("    config: text\n"), 3, "llm_providers.mine.config"),
    (one("    config:\n\n      endpoint: ftp://x\n"), 5, "llm_providers.mine.config.endpoint"),
    (one("    credentials:\n      other: a\n      api_key: 12345\n"), 5, "llm_providers.mine.credentials.api_key"),
    (one("    credentials: [a]\n"), 3, "llm_providers.mine.credentials"),
    (one("    display_name: ${1X}\n"), 3, "llm_providers.mine.display_name"),
    (one("    display_name: ${A:-${B}}\n"), 3, "llm_providers.mine.display_name"),
    (one("    config:\n      tags: [a, '${']\n"), 4, "llm_providers.mine.config.tags[1]"),
    ("llm_providers:\n  a b:\n    enabled: true\n", 3, "llm_providers.a b"),
    (one("    weight: 1\n    type: a b\n"), 4, "llm_providers.mine.type"),
    ("a: &x 1\nb: *x\n", 1, "a"), ("b: *x\n", 1, "b"), ("a: !!python/object:os.system x\n", 1, "a"),
    ("a: !!str x\n", 1, "a"), ("a: 1\na: 2\n", 2, ""), ("a:\n  <<: {b: 1}\n", 2, "a"), ("1: a\n", 1, ""),
    ("{a: 1}: b\n", 1, ""), ("a: 1\n---\nb: 2\n", 2, ""), ("a: [\n", 2, ""), ("a: 'x\n", 2, ""), ("a: @b\n", 1, ""),
    ("a: " + "[" * 40 + "]" * 40 + "\n", 1, "a"), ("a:\n\t- b\n", 2, ""),
])
def test_a_fault_names_file_line_and_key(load: Load, tmp_path: Path, text: str, line: int, key: str) -> None:
    with pytest.raises(Failure) as caught:
        load(text)
    message = caught.value.message
    assert caught.value.code == "invalid_request"
    assert message.startswith(f"{tmp_path / 'ailink.yaml'}, line {line}: {key}"), message
    assert message.endswith(".") and (caught.value.param or "") == key


def test_a_file_too_large_is_refused_unread(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SIZE_LIMIT", 100)
    with pytest.raises(Failure, match="larger than 100 bytes"):
        load("#" * 101)
    assert load("#" * 100) == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"absent\.yaml.*FileNotFoundError"):
        load_config(tmp_path / "absent.yaml", {})
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Failure, match="UnicodeDecodeError"):
        load_config(tmp_path / "binary.yaml", {})
    (tmp_path / "control.yaml").write_bytes(b"a: \x01\n")
    with pytest.raises(Failure, match="characters that no text has"):
        load_config(tmp_path / "control.yaml", {})


def test_without_pyyaml_it_says_what_to_install(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(Failure, match="pyyaml"):
        load("")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.text(alphabet="{}[]&*!|>'\"%@`:-#,? \n\tab0", max_size=6))
def test_a_broken_file_is_refused_and_no_secret_told(
    load: Load, caplog: pytest.LogCaptureFixture, start: int, length: int, put: str
) -> None:
    text = EXAMPLE.replace("${MY_PROVIDER_API_KEY}", SECRET)
    try:
        load(text[:start] + put + text[start + length:])
    except Failure as failure:
        assert SECRET not in failure.message and failure.code == "invalid_request"
    assert SECRET not in caplog.text
