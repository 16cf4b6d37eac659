"""Anthropic: where it is and which model names are its own."""

from ailink_provider.providers import Provider

PROVIDER = Provider(
    name="anthropic",
    base_url="https://api.anthropic.com",
    dialect="anthropic_messages",
    hosts=("api.anthropic.com",),
    families=("claude-",),
    key_variable="ANTHROPIC_API_KEY",
    base_url_variable="ANTHROPIC_BASE_URL",
    prices="anthropic",
    default_model="claude-haiku-4-5",
)
