"""Choose: from the model's name to the targets that may answer, in order. Pure once the body is read.

The rules are those of the contract's "Which target"; the first step that yields targets ends the search.
"""

from typing import Any

import msgspec

from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant, Snapshot, Target
from ailink_gateway.stages import Proceed
from ailink_gateway.targets import family, is_allowed, prefixed, reachable, resolve, visible
from ailink_provider.catalog import Facts
from ailink_provider.errors import Failure

_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_FLAG = msgspec.json.Decoder(bool | None)
RESOLVED = 1000  # names a grant remembers the targets of
SHOWN = 20  # names in a message about an unknown model


class Choose:
    """Needs what every token may reach."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        grant, route = exchange.grant, exchange.route
        assert grant is not None  # Authenticate stands before this stage
        if grant.own is not None and grant.own.generic and route.kind != "api" and _is_its_own(exchange.path):
            route = exchange.route = msgspec.structs.replace(route, kind="api", operation="")
        if route.kind == "closed":
            raise _closed(exchange)
        if route.kind == "models":
            return self._list(exchange, grant)
        await exchange.read_body()
        if route.kind == "api":
            exchange.targets = [_api(exchange, grant)]
        else:
            exchange.targets = self._targets(exchange, grant)
        return await proceed(exchange)

    def _targets(self, exchange: Exchange, grant: Grant) -> list[Target]:
        exchange.members = members = read_members(exchange.body)
        route = exchange.route
        model = route.model or _model(members)
        if model is None:
            model = exchange.header(b"x-preferred-model") or self._default(grant)
        exchange.model = _checked(model)
        if grant.allowed_models and "models" in members:
            raise Failure(
                "policy_denied",
                "This token may use some models only: send `model`, and no list of `models` to fall back to.",
                param="models",
                reason="model_not_allowed",
            )
        exchange.streaming = route.stream if route.stream is not None else _flag(members, "stream")
        targets = grant.resolved.get(model)
        if targets is None:
            targets = self._resolve(model, grant)
            if len(grant.resolved) < RESOLVED:
                grant.resolved[model] = targets
        return targets

    def _resolve(self, model: str, grant: Grant) -> list[Target]:
        targets = resolve(model, grant, self._snapshot)
        if not targets:
            raise self._unknown(model, grant)
        allowed = [target for target in targets if is_allowed(target, grant.allowed_models)]
        if not allowed:
            raise Failure(
                "policy_denied",
                f"This token may not use {model[:128]!r}; it may ask: {', '.join(grant.allowed_models[:SHOWN])}.",
                param="model",
                reason="model_not_allowed",
            )
        return allowed

    def _default(self, grant: Grant) -> str:
        for choice in (grant.default_model, self._snapshot.default_model):
            if choice:
                return choice
        for name in reachable(grant, self._snapshot):
            if default := self._snapshot.providers[name].default_model:
                return default
        raise Failure(
            "invalid_request", "The request names no model, and no default is configured: send `model`.", param="model"
        )

    def _unknown(self, model: str, grant: Grant) -> Failure:
        provider = prefixed(model, self._snapshot.providers) or family(model, self._snapshot.providers)
        if provider is not None and not grant.passthrough:
            variable = f" or set {provider.key_variable}" if provider.key_variable else ""
            return Failure(
                "credential_missing",
                f"There is no key for {provider.name}, which serves {model[:128]!r}: "
                f"store a credential with provider {provider.name!r}{variable}.",
                param="model",
            )
        names = [entry for entry, _ in visible(grant, self._snapshot)][:SHOWN]
        known = (
            f" Known here: {', '.join(names)}." if names else " This token reaches no provider yet: store a credential."
        )
        return Failure("model_not_found", f"No provider serves the model {model[:128]!r}.{known}", param="model")

    def _list(self, exchange: Exchange, grant: Grant) -> Reply:
        exchange.body_read = True
        entries = list(visible(grant, self._snapshot))
        wanted, write = exchange.route.model, exchange.route.dialect.write_models
        if wanted is None:
            body: Any = write(entries)
        elif found := [entry for entry in entries if entry[0] == wanted]:
            body = write(found)["data"][0]
        else:
            raise Failure("model_not_found", f"The model {wanted[:128]!r} is not listed here.", param="model")
        return Reply(200, [(b"content-type", b"application/json")], msgspec.json.encode(body))


def _is_its_own(path: str) -> bool:
    return path != "/v1/proxy" and not path.startswith("/v1/proxy/")


def _closed(exchange: Exchange) -> Failure:
    exchange.body_read = True
    if exchange.route.refusal == "method_not_allowed":
        return Failure("method_not_allowed", f"{exchange.method} is not allowed on {exchange.path[:128]}.")
    return Failure("not_found", f"{exchange.path[:128]} is not served by this gateway.")


def _api(exchange: Exchange, grant: Grant) -> Target:
    own = grant.own
    if own is None:
        raise Failure(
            "not_found",
            f"{exchange.path[:128]} is not a route of this gateway, and this token has no upstream_url to send it to.",
        )
    if own.provider is not None and not own.generic and not grant.raw_paths:
        raise Failure(
            "policy_denied",
            f"{exchange.path[:128]} is not open on {own.label}: only the routes of models are, "
            "unless the token has raw_paths.",
            reason="path_not_allowed",
        )
    return Target(own, "", Facts())


def _model(members: dict[str, msgspec.Raw]) -> str | None:
    raw = members.get("model")
    if raw is None:
        return None
    try:
        model: str | None = _TEXT.decode(raw)
    except msgspec.ValidationError:
        raise Failure("invalid_request", "model must be a string.", param="model") from None
    return model


def _checked(model: str) -> str:
    """Return a name, wherever it was sent, if it can be one: it goes into paths, globs and records."""
    if not (0 < len(model) <= 256 and model.isprintable()):
        raise Failure("invalid_request", "model must be a name of 1 to 256 printable characters.", param="model")
    if ".." in model and ".." in model.split("/"):
        raise Failure("invalid_request", "model must be a name, not a path that climbs.", param="model")
    return model


def _flag(members: dict[str, msgspec.Raw], name: str) -> bool:
    raw = members.get(name)
    if raw is None:
        return False
    try:
        return bool(_FLAG.decode(raw))
    except msgspec.ValidationError:
        raise Failure("invalid_request", f"{name} must be true or false.", param=name) from None
