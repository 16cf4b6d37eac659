"""OpenAI: where it is and which model names are its own."""

from ailink_provider.providers import Provider

PROVIDER = Provider(
    name="openai",
    base_url="https://api.openai.com/v1",
    dialect="openai_chat",
    relays=("openai_responses",),
    hosts=("api.openai.com", "eu.api.openai.com", "us.api.openai.com"),
    families=("gpt-", "o1-", "o3-", "o4-", "text-", "dall-e", "tts", "whisper", "chatgpt-"),
    key_variable="OPENAI_API_KEY",
    base_url_variable="OPENAI_BASE_URL",
    prices="openai",
    default_model="gpt-4o-mini",
)
