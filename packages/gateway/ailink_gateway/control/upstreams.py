"""Upstream URLs as clients give them: refused here when a call to them could not be made as it is written, or when the
URL itself says that it may not be called.

Where a name leads is decided where the socket is opened, each time.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ailink_gateway.policy.actions.consult import Webhook
from ailink_gateway.policy.actions.decide import RequireApproval
from ailink_gateway.policy.compiled import Policy
from ailink_gateway.policy.compiler import compile_policy
from ailink_provider.errors import Failure
from ailink_provider.transport import Guard
from ailink_provider.transport.origin import Origin


def _plain(url: str) -> str:
    try:
        Origin.parse(url)
    except Failure as failure:
        raise PydanticCustomError("upstream_url", "{message}", {"message": failure.message}) from None
    return url


UpstreamUrl = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_plain)]


def check_upstreams(guard: Guard, fields: Mapping[str, Any], place: str = "") -> None:
    """Raise ``Failure`` (``validation_error``) naming the first URL that may not be called of a token's or a
    service's fields. ``place`` is where the fields stand in a file.
    """
    for field, url in _urls(fields):
        _check(guard, url, f"{place}.{field}" if place else field)


def checked_policy(guard: Guard, document: Mapping[str, Any], place: str = "") -> Policy:
    """Return the policy of a document. Raises ``Failure`` (``validation_error``) naming what is wrong in it, the rules
    whose webhooks may not be called included.
    """
    policy = compile_policy(document, place=place)
    for rule in policy.rules:
        for action in rule.actions:
            if isinstance(action, Webhook):
                told = [action.url]
            elif isinstance(action, RequireApproval):
                told = [channel["url"].partition("?")[0] for channel in action.notify]
            else:
                continue
            for url in told:
                _check(guard, url, f"{place}.rules[{rule.index}]" if place else f"rules[{rule.index}]")
    return policy


def _urls(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field in ("upstream_url", "base_url"):
        if fields.get(field) is not None:
            yield field, fields[field]
    for index, upstream in enumerate(fields.get("upstreams") or ()):
        yield f"upstreams.{index}.url", upstream["url"]


def _check(guard: Guard, url: str, place: str) -> None:
    try:
        guard.foresee(Origin.parse(url)[0])
    except Failure as failure:
        message = f"{place}: {failure.message}"
        details = [{"field": place, "message": failure.message}]
        raise Failure("validation_error", message, param=place, details=details) from None
