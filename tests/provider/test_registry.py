"""Built-in providers and model facts are complete and agree with each other."""

from ailink_provider.catalog import facts, rows
from ailink_provider.registry import dialects, providers, vendor_of


def test_every_provider_speaks_a_known_dialect_and_can_be_found() -> None:
    for name, provider in providers().items():
        assert provider.name == name
        assert provider.dialect in dialects()
        assert provider.base_url or provider.base_url_variable, f"{name} can never be reached"
        for host in provider.hosts:
            assert vendor_of(host) is provider


def test_the_services_people_use_are_there() -> None:
    assert set(providers()) >= {
        "openai",
        "anthropic",
        "gemini",
        "groq",
        "mistral",
        "cohere",
        "deepseek",
        "xai",
        "together",
        "fireworks",
        "openrouter",
        "glama",
        "requesty",
        "aiml",
        "vllm",
        "lmstudio",
        "ollama",
    }


def test_no_two_providers_claim_one_name() -> None:
    families = [family for provider in providers().values() for family in provider.families]
    assert len(families) == len(set(families))


def test_every_listed_model_is_spoken_for_by_its_own_row() -> None:
    for row in rows():
        assert not row.list or row.provider in providers()
        for model in row.list:
            assert facts(model) == row.facts, model


def test_facts_of_the_newest_models() -> None:
    assert facts("claude-opus-5-5-20260901").sampling == ()
    assert not facts("anthropic/claude-opus-5-5").forced_tools
    assert facts("gpt-5-mini").completion_limit
    assert facts("gemini-3-pro-preview").thinking == "level"
    assert facts("something-else").max_output_tokens == 4096
