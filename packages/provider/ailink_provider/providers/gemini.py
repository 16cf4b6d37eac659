"""Google's Gemini API: where it is and which model names are its own."""

from ailink_provider.providers import Provider

PROVIDER = Provider(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com",
    dialect="gemini",
    hosts=("generativelanguage.googleapis.com",),
    families=("gemini-",),
    key_variable="GEMINI_API_KEY",
    base_url_variable="GEMINI_BASE_URL",
    prices="google",
    default_model="gemini-2.5-flash",
)
