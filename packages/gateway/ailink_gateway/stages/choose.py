"""Choose: from the model's name to the targets that may answer, in order. Pure once the body is read.

The rules are those of the contract's "Which target"; the first step that yields targets ends the search.
"""

from typing import Any

import msgspec

from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant, Service, Target, Upstream
from ailink_gateway.routes import match
from ailink_gateway.services import enter
from ailink_gateway.stages import Proceed
from ailink_gateway.targets import Resolver, checked, spread
from ailink_provider.catalog import Facts
from ailink_provider.errors import Failure

_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
_FLAG = msgspec.json.Decoder(bool | None)


class Choose:
    """Needs what finds the targets of a model."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        grant, route = exchange.grant, exchange.route
        assert grant is not None  # Authenticate stands before this stage
        if grant.own is not None and grant.own.generic and route.kind != "api" and _is_its_own(exchange.path):
            route = exchange.route = msgspec.structs.replace(route, kind="api", operation="")
        if route.kind == "closed":
            raise _closed(exchange)
        if route.kind == "models":
            exchange.answer = self._list(exchange, grant)
            return await proceed(exchange)
        if b"x-ailink-guardrails" in exchange.headers:
            exchange.warnings.append("X-AILink-Guardrails: this version has no guardrails, so nothing is screened")
        service = enter(exchange, route.service, grant) if route.service is not None else None
        await exchange.read_body()
        if service is not None:
            exchange.targets = self._of_service(exchange, grant, service)
        elif route.kind == "api":
            exchange.targets = _api(exchange, grant)
        else:
            model = self._model(exchange, grant)
            exchange.targets = self._resolver.targets(model, grant)
        return await proceed(exchange)

    def _of_service(self, exchange: Exchange, grant: Grant, service: Service) -> list[Target]:
        upstream = service.upstream
        if service.serves_models:
            inner = match(exchange.method, exchange.raw_path.decode("latin-1"), exchange.query)
            if inner.kind == "model":
                exchange.route = inner
                return self._resolver.within(upstream, self._model(exchange, grant), grant)
            if inner.kind != "models":
                _check_open(exchange, grant, upstream)
        return [Target(upstream, "", Facts())]

    def _model(self, exchange: Exchange, grant: Grant) -> str:
        """Read the body of a model's call, and return the model that it asks for."""
        exchange.members = members = read_members(exchange.body)
        route = exchange.route
        model = route.model or _named_model(members)
        if model is None:
            model = exchange.header(b"x-preferred-model") or self._resolver.default_model(grant)
        exchange.model = exchange.requested_model = checked(model)
        if grant.allowed_models and "models" in members:
            raise Failure(
                "policy_denied",
                "This token may use some models only: send `model`, and no list of `models` to fall back to.",
                param="models",
                reason="model_not_allowed",
            )
        exchange.streaming = route.stream if route.stream is not None else _flag(members, "stream")
        return model

    def _list(self, exchange: Exchange, grant: Grant) -> Reply:
        exchange.body_read = True
        entries = self._resolver.visible(grant)
        wanted, write = exchange.route.model, exchange.route.dialect.write_models
        if wanted is None:
            body: Any = write(entries)
        elif found := [entry for entry in entries if entry[0] == wanted]:
            [body] = next(value for value in write(found).values() if isinstance(value, list))
        else:
            raise Failure("model_not_found", f"The model {wanted[:128]!r} is not listed here.", param="model")
        return Reply(200, [(b"content-type", b"application/json")], msgspec.json.encode(body))


def _is_its_own(path: str) -> bool:
    return path != "/v1/proxy" and not path.startswith("/v1/proxy/")


def _closed(exchange: Exchange) -> Failure:
    exchange.body_read = True
    if exchange.route.refusal == "method_not_allowed":
        exchange.response_headers.append((b"allow", exchange.route.allow.encode()))
        return Failure("method_not_allowed", f"{exchange.method} is not allowed on {exchange.path[:128]}.")
    return Failure("not_found", f"{exchange.path[:128]} is not served by this gateway.")


def _api(exchange: Exchange, grant: Grant) -> list[Target]:
    own = grant.own
    if own is None:
        raise Failure(
            "not_found",
            f"{exchange.path[:128]} is not a route of this gateway, and this token has no upstream_url to send it to.",
        )
    upstreams = [upstream for upstream in grant.upstreams if _is_open(grant, upstream)]
    if not upstreams:
        _check_open(exchange, grant, own)
    targets = [Target(upstream, "", Facts()) for upstream in upstreams]
    return spread(targets) if grant.further else targets


def _is_open(grant: Grant, upstream: Upstream) -> bool:
    return upstream.provider is None or upstream.generic or grant.raw_paths


def _check_open(exchange: Exchange, grant: Grant, upstream: Upstream) -> None:
    """Raise ``Failure`` for a path on a vendor's host that is no model's route, as what it costs is not known."""
    if not _is_open(grant, upstream):
        raise Failure(
            "policy_denied",
            f"{exchange.path[:128]} is not open on {upstream.label}: only the routes of models are, "
            "unless the token has raw_paths.",
            reason="path_not_allowed",
        )


def _named_model(members: dict[str, msgspec.Raw]) -> str | None:
    raw = members.get("model")
    if raw is None:
        return None
    try:
        model: str | None = _TEXT.decode(raw)
    except msgspec.ValidationError:
        raise Failure("invalid_request", "model must be a string.", param="model") from None
    return model


def _flag(members: dict[str, msgspec.Raw], name: str) -> bool:
    raw = members.get(name)
    if raw is None:
        return False
    try:
        return bool(_FLAG.decode(raw))
    except msgspec.ValidationError:
        raise Failure("invalid_request", f"{name} must be true or false.", param=name) from None
