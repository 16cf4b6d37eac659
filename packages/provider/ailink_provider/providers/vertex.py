"""Google's Vertex AI: Gemini's format below a project and a location, for a service account.

The key is the account's key file, as JSON. The project is the file's own unless a setting names another.
"""

import re
from typing import Any

import msgspec

from ailink_provider.errors import Failure
from ailink_provider.providers import Access, Given, Provider
from ailink_provider.service_account import GOOGLE_TOKENS, GoogleServiceAccountAuth
from ailink_provider.transport import Origin

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,99}")
_HOST = re.compile(r"([a-z0-9-]+)-aiplatform\.googleapis\.com")
_ANYWHERE = "global"
_SERVICE = "aiplatform.googleapis.com"


def _open(given: Given) -> Access:
    account = _account(given.key) if given.key else {}
    named = _HOST.fullmatch(Origin.parse(given.base_url)[0].host) if given.base_url else None
    location = _name("location", named[1] if named else given.settings.get("location") or _ANYWHERE)
    project = _name("project", given.settings.get("project") or account.get("project_id") or "")
    own = f"https://{_SERVICE}" if location == _ANYWHERE else f"https://{location}-{_SERVICE}"
    url = given.base_url or own
    models = f"/v1/projects/{project}/locations/{location}/publishers/google/models/"
    return Access(url, _signed(account, url, given) if account else None, ("/v1beta/models/", models))


def _signed(account: dict[str, Any], url: str, given: Given) -> GoogleServiceAccountAuth:
    # Whoever answers in the service's place sees every token anyway, and may give them out as well.
    return GoogleServiceAccountAuth(account, token_origins=(GOOGLE_TOKENS, str(Origin.parse(url)[0])),
                                    sender=given.sender)


def _account(key: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(key, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Failure("credential_missing", "A credential of Vertex AI is a service account's key file, which is a "
                                            "JSON object: use it as Google made it.") from None


def _name(what: str, value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Failure("credential_missing", f"The {what} of Vertex AI is missing or none: set GOOGLE_CLOUD_"
                                            f"{what.upper()}, or the setting {what}.")
    return value


PROVIDER = Provider(
    name="vertex",
    base_url=f"https://{_SERVICE}",
    dialect="gemini",
    operations=("chat", "chat_array"),
    hosts=(_SERVICE, f"*-{_SERVICE}"),
    base_url_variable="GOOGLE_VERTEX_BASE_URL",
    key_file_variable="GOOGLE_APPLICATION_CREDENTIALS",
    settings={"project": ("GOOGLE_CLOUD_PROJECT",), "location": ("GOOGLE_CLOUD_LOCATION",)},
    credential_header=("authorization", "Bearer "),
    opener=_open,
    prices="google",
)
