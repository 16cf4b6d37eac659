"""Amazon Bedrock: a key of its own kind, or an AWS key that signs every call for one region.

A key with colons is ``ACCESS_KEY:SECRET[:SESSION_TOKEN]``; any other is a Bedrock API key, a bearer's.
"""

import re
from urllib.parse import urlsplit

from ailink_provider.auth import APIKeyAuth, Auth, AWSSigV4Auth
from ailink_provider.errors import Failure
from ailink_provider.providers import Access, Given, Provider

_HOST = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_USUAL_REGION = "us-east-1"


def _open(given: Given) -> Access:
    region = given.settings.get("region") or _USUAL_REGION
    if not _REGION.fullmatch(region):
        raise Failure("credential_missing", "The AWS region is not one: set AWS_REGION to one such as us-east-1.")
    url = given.base_url or f"https://bedrock-runtime.{region}.amazonaws.com"
    # A signature is for the region that is asked, which an address of AWS names itself.
    named = _HOST.fullmatch(urlsplit(url).hostname or "")
    return Access(url, _signed(given.key, named[1] if named else region))


def _signed(key: str, region: str) -> Auth | None:
    if not key:
        return None
    if ":" not in key:
        return APIKeyAuth(key)
    parts = key.split(":")
    if len(parts) > 3 or not all(parts):
        raise Failure(
            "credential_missing",
            "A credential of Bedrock is an API key, or ACCESS_KEY:SECRET or ACCESS_KEY:SECRET:SESSION_TOKEN of AWS.",
        )
    return AWSSigV4Auth(parts[0], parts[1], region, "bedrock", *parts[2:])


PROVIDER = Provider(
    name="bedrock",
    base_url=f"https://bedrock-runtime.{_USUAL_REGION}.amazonaws.com",
    dialect="bedrock_converse",
    hosts=("bedrock-runtime.*.amazonaws.com", "bedrock-runtime-fips.*.amazonaws.com",
           "bedrock-runtime.*.amazonaws.com.cn", "bedrock-runtime.*.api.aws"),
    key_variable="AWS_BEARER_TOKEN_BEDROCK",
    key_parts={
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN",
    },
    base_url_variable="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    settings={"region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
    opener=_open,
    prices="aws",
)
