"""Azure OpenAI: a resource of one's own, whose deployments are the models, behind the version-less API below
``/openai/v1``.
"""

from ailink_provider.auth import APIKeyAuth
from ailink_provider.errors import Failure
from ailink_provider.providers import Access, Given, Provider
from ailink_provider.transport import Origin

_HEADER = "api-key"
_BASE = "/openai/v1"


def _open(given: Given) -> Access:
    if not given.base_url:
        raise Failure("credential_missing", "Azure has no address of its own: set AZURE_OPENAI_ENDPOINT, or endpoint, "
                                            "to https://<resource>.openai.azure.com.")
    origin, path = Origin.parse(given.base_url)
    # What Azure's portal shows is the resource alone; some settings name a part of the way.
    url = f"{origin}{_BASE if path in ('', '/openai') else path}"
    return Access(url, APIKeyAuth(given.key, header=_HEADER) if given.key else None)


PROVIDER = Provider(
    name="azure",
    dialect="openai_chat",
    relays=("openai_responses",),
    hosts=("*.openai.azure.com", "*.services.ai.azure.com"),
    key_variable="AZURE_OPENAI_API_KEY",
    base_url_variable="AZURE_OPENAI_ENDPOINT",
    credential_header=(_HEADER, ""),
    opener=_open,
    prices="azure",
)
