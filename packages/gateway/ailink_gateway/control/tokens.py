"""Tokens: what agents hold instead of secrets. The whole token is shown once, when it is made or rotated."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, Field

from ailink_gateway.control.authentication import Caller
from ailink_gateway.control.context import Context, Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import (
    Deleted,
    Future,
    Input,
    Listing,
    Model,
    Moment,
    Name,
    Page,
    ProjectId,
    Reference,
    changes,
    either_form,
    optional,
    seconds,
)
from ailink_gateway.control.resource import resource
from ailink_gateway.control.upstreams import UpstreamUrl, check_upstreams
from ailink_gateway.store import tokens as table
from ailink_gateway.store.projects import DEFAULT
from ailink_gateway.store.rows import Row
from ailink_gateway.tokens import fingerprint, mint, new_id
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault
from ailink_provider.errors import Failure

router = resource("tokens")

_LOG_LEVEL = (
    "What is kept of its calls: metadata alone, or for a while also the bodies, sealed: without the secrets that are "
    "recognised (redacted), or as they are (full)."
)
_EXAMPLE = "ailink_v1_proj_default_tok_4fT0aZbY21qKx8Pq3VnR7sLw0dHc5JmEa9UgQb6TtXyZkB1fO2"

TokenId = Annotated[
    str,
    Path(description="The token's id, or the whole token.", max_length=256, examples=["tok_4fT0aZbY21qK"]),
    AfterValidator(either_form),
]
LogLevel = Literal["metadata", "redacted", "full"]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_.:*-]*$")]


Limit = Annotated[int, Field(ge=0, le=1_000_000_000)]


class CircuitBreaker(Input):
    """When calls to a failing upstream stop, and when they are tried again."""

    enabled: bool = True
    failure_threshold: int = Field(default=3, ge=1, le=1000, description="Failures in a row that open it.")
    recovery_cooldown_secs: int = Field(default=30, ge=1, le=86400, description="How long it stays open, in seconds.")
    half_open_max_requests: int = Field(default=1, ge=1, le=100, description="Calls that may try the upstream then.")


class CircuitBreakerChange(Input):
    """What is to change of a circuit breaker."""

    enabled: bool = optional()
    failure_threshold: int = optional(ge=1, le=1000)
    recovery_cooldown_secs: int = optional(ge=1, le=86400)
    half_open_max_requests: int = optional(ge=1, le=100)


class Upstream(Input):
    """One more place for a token's calls."""

    url: UpstreamUrl
    credential_id: Reference | None = Field(None, description="The token's own, if none is named.")
    weight: int = Field(1, ge=1, le=1000, description="How often it is the first among those of equal priority.")
    priority: int = Field(1, ge=0, le=100, description="Lower is asked first; upstream_url is 0 unless it is listed.")


class TokenInput(Input):
    """A new token."""

    name: Name = Field(examples=["billing-bot"])
    project_id: ProjectId = DEFAULT
    credential_id: Reference | None = Field(None, description="The project's credential that its calls are made with.")
    upstream_url: UpstreamUrl | None = Field(
        None, description="Where its calls go; without it, wherever the project or the gateway has credentials for.",
        examples=["https://api.example.com/v1"],
    )
    upstreams: list[Upstream] = Field([], max_length=20, description="Where its calls go beside or after upstream_url.")
    default_model: Model | None = Field(None, description="The model of calls that name none.")
    allowed_models: list[Model] = Field([], max_length=100, description="Models it may ask, as globs; none for all.")
    scopes: list[Label] = Field([], max_length=50, description="Labels kept with the token; they restrict nothing.")
    policy_ids: list[Reference] = Field([], max_length=50, description="Policies that hold for it, in their order.")
    raw_paths: bool = Field(False, description="Let paths that the gateway does not know go to a model's vendor.")
    allow_upstream_key: bool = Field(False, description="Let callers bring an upstream key of their own.")
    strict_parameters: bool = Field(False, description="Refuse what the upstream cannot express, instead of warning.")
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    requests_per_minute: Limit | None = Field(None, description="Calls a minute: 600 if null, without limit if 0.")
    tokens_per_minute: Limit | None = Field(None, description="Tokens of models a minute, input and output.")
    concurrent_requests: Limit | None = Field(None, description="Calls at once.")
    log_level: LogLevel = Field("metadata", description=_LOG_LEVEL)
    expires_at: Future | None = Field(None, description="When it stops working.", examples=["2030-01-01T00:00:00Z"])


class TokenChange(Input):
    """What is to change. null takes a value away where there may be none."""

    name: Name = optional()
    is_active: bool = optional(description="false switches the token off, true on again.")
    credential_id: Reference | None = None
    upstream_url: UpstreamUrl | None = None
    upstreams: list[Upstream] = optional(max_length=20)
    default_model: Model | None = None
    allowed_models: list[Model] = optional(max_length=100)
    scopes: list[Label] = optional(max_length=50)
    policy_ids: list[Reference] = optional(max_length=50)
    raw_paths: bool = optional()
    allow_upstream_key: bool = optional()
    strict_parameters: bool = optional()
    circuit_breaker: CircuitBreakerChange = optional()
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_requests: Limit | None = None
    log_level: LogLevel = optional(description=_LOG_LEVEL)
    expires_at: Future | None = None


class Token(BaseModel):
    """A token, without its secret."""

    id: str = Field(examples=["tok_4fT0aZbY21qK"])
    name: str = Field(examples=["billing-bot"])
    project_id: str = Field(examples=["default"])
    credential_id: str | None
    upstream_url: str | None
    upstreams: list[Upstream]
    default_model: str | None
    allowed_models: list[str]
    scopes: list[str]
    policy_ids: list[str]
    raw_paths: bool
    allow_upstream_key: bool
    strict_parameters: bool
    circuit_breaker: CircuitBreaker
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    log_level: LogLevel
    is_active: bool = Field(description="Whether it is switched on and not revoked.")
    created_at: Moment
    expires_at: Moment | None
    rotated_at: Moment | None
    revoked_at: Moment | None


class MintedToken(Token):
    """A token with its secret: shown this once."""

    token_id: str = Field(description="The whole token; only its fingerprint is stored.", examples=[_EXAMPLE])


class TokenListing(Listing):
    """Which tokens are asked for."""

    starting_after: Annotated[str, AfterValidator(either_form)] | None = Field(None, max_length=256)
    project_id: Reference | None = None
    is_active: bool | None = None


@router.post("", status_code=201, responses=refusals(409))
async def create_token(body: TokenInput, given: Given) -> MintedToken:
    """Create a token. The answer alone carries the whole of it, as `token_id`."""
    row, secret = new_token(body, given.vault, given.now())
    check_upstreams(given.guard, row)
    return MintedToken(**await given.store.change(table.insert_token, row), token_id=secret)


@router.get("")
async def list_tokens(listing: Annotated[TokenListing, Query()], given: Given, caller: Caller) -> Page[Token]:
    """List tokens, newest first, revoked ones included. A token that asks sees itself alone."""
    if caller.token_id is not None:
        row = await given.store.read(table.find_token, caller.token_id)
        return Page(data=[Token.model_validate(row)], has_more=False)
    rows, has_more = await given.store.read(
        table.list_tokens, listing.limit, listing.starting_after, listing.project_id, listing.is_active,
    )
    return Page(data=[Token.model_validate(row) for row in rows], has_more=has_more)


@router.get("/self", responses=refusals(404))
async def get_own_token(given: Given, caller: Caller) -> Token:
    """Get the token that asks."""
    if caller.token_id is None:
        raise Failure("not_found", "The admin key is no token: ask for /api/v1/tokens/{id}.")
    return Token.model_validate(await given.store.read(table.find_token, caller.token_id))


@router.get("/{id}", responses=refusals(404))
async def get_token(id: TokenId, given: Given) -> Token:
    """Get one token."""
    return Token.model_validate(await given.store.read(table.find_token, id))


@router.patch("/{id}", responses=refusals(404, 409))
@router.put("/{id}", include_in_schema=False)
async def update_token(id: TokenId, body: TokenChange, given: Given) -> Token:
    """Change a token. PUT does the same; of `circuit_breaker`, too, only what is given changes."""
    fields = _stored(changes(body), given.now())
    if "circuit_breaker" in fields:
        fields["circuit_breaker"] = changes(body.circuit_breaker)
    check_upstreams(given.guard, fields)
    before = await given.store.read(table.find_token, id)
    row = await given.store.change(table.update_token, id, fields)
    _forget_if_off(row, given)
    if given.breakers is not None:
        for url in set(table.own_urls(before)).difference(table.own_urls(row)):
            given.breakers.forget(id, url)
    return Token.model_validate(row)


@router.delete("/{id}", responses=refusals(404))
async def revoke_token(id: TokenId, given: Given) -> Deleted:
    """Revoke a token for good: before the answer, it stops working. It stays in lists, not active."""
    await given.store.change(table.revoke_token, id, given.now())
    return Deleted(id=id)


@router.post("/{id}/rotate", responses=refusals(404, 409))
async def rotate_token(id: TokenId, given: Given) -> MintedToken:
    """Give a token a new secret, shown as `token_id`. Before the answer, the old one stops working."""
    row = await given.store.read(table.find_token, id)
    secret = mint(row["project_id"], id)
    row = await given.store.change(table.rotate_token, id, _fingerprint(given.vault, secret), given.now())
    return MintedToken(**row, token_id=secret)


@router.get("/{id}/circuit-breaker", responses=refusals(404))
async def get_circuit_breaker(id: TokenId, given: Given) -> CircuitBreaker:
    """Get how a token's circuit breaker is set."""
    return _breaker(await given.store.read(table.find_token, id))


@router.patch("/{id}/circuit-breaker", responses=refusals(404, 409))
@router.put("/{id}/circuit-breaker", include_in_schema=False)
async def set_circuit_breaker(id: TokenId, body: CircuitBreakerChange, given: Given) -> CircuitBreaker:
    """Set what is given of a token's circuit breaker. PUT does the same. To switch it off forgets the failures it saw;
    anything else keeps them.
    """
    row = await given.store.change(table.update_token, id, {"circuit_breaker": changes(body)})
    _forget_if_off(row, given)
    return _breaker(row)


def new_token(body: TokenInput, vault: Vault, now: float) -> tuple[Row, str]:
    """Return the row of a new token, to be inserted, and the whole token. Raises ``Failure`` if it would be expired."""
    token_id = new_id()
    secret = mint(body.project_id, token_id)
    row = {
        **_stored(body.model_dump(), now), "id": token_id, "fingerprint": _fingerprint(vault, secret),
        "is_active": True, "created_at": now,
    }
    return row, secret


def _forget_if_off(row: Row, given: Context) -> None:
    if given.breakers is not None and not _breaker(row).enabled:
        given.breakers.forget(row["id"])


def _breaker(row: Row) -> CircuitBreaker:
    return CircuitBreaker.model_validate(row["circuit_breaker"])


def _fingerprint(vault: Vault, secret: str) -> bytes:
    return fingerprint(vault.derive(TOKEN_FINGERPRINTS), secret)


def _stored(fields: dict[str, Any], now: float) -> dict[str, Any]:
    if fields.get("expires_at") is not None:
        fields["expires_at"] = seconds(fields["expires_at"])
        if fields["expires_at"] <= now:
            raise Failure("validation_error", "expires_at lies in the past: give a later moment.", param="expires_at")
    return fields
