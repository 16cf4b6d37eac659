"""What a grant is made from: a token with its project and credential, read by fingerprint. Opens no secret."""

from collections.abc import Collection
from typing import Any, Literal

from msgspec import Struct
from sqlalchemy import Connection, select

from ailink_gateway.store.tables import credentials, generation, policies, projects, services, tokens

_PREFIX = "credential_"
_PRESENT = credentials.c.deleted_at.is_(None)


class CredentialRow(Struct, frozen=True, kw_only=True):
    """A credential, its secret sealed for ``vault.credential_place``.

    ``injection`` is bearer, basic, header (``header_name``) or query (``query_name``); None is the provider's own way.
    """

    id: str
    project_id: str
    name: str
    provider: str
    injection: str | None
    header_name: str | None
    query_name: str | None
    sealed: bytes


class ServiceRow(Struct, frozen=True, kw_only=True):
    """A service that is switched on."""

    name: str
    base_url: str
    service_type: str
    credential_id: str | None
    methods: tuple[str, ...]
    allowed_paths: tuple[str, ...]
    denied_paths: tuple[str, ...]


class PolicyRow(Struct, frozen=True, kw_only=True):
    """A policy as it stands."""

    id: str
    version: int
    name: str
    mode: str
    phase: str
    rules: list[Any]
    retry: dict[str, Any] | None

    def document(self) -> dict[str, Any]:
        """Return what ``policy.compiler`` reads."""
        names = ("name", "mode", "phase", "rules", "retry")
        return {name: getattr(self, name) for name in names}


class TokenRow(Struct, frozen=True, kw_only=True):
    """A token as it stood at ``generation``. Times are Unix seconds."""

    id: str
    name: str
    project_id: str
    project_name: str
    upstream_url: str | None
    default_model: str | None
    allowed_models: tuple[str, ...]
    scopes: tuple[str, ...]
    policy_ids: tuple[str, ...]
    project_policy_ids: tuple[str, ...]
    upstreams: tuple[dict[str, Any], ...]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    log_level: str
    raw_paths: bool
    allow_upstream_key: bool
    strict_parameters: bool
    circuit_breaker: dict[str, Any]
    is_active: bool
    expires_at: float | None
    revoked_at: float | None
    credential: CredentialRow | None
    generation: int

    def refusal(self, now: float) -> Literal["revoked", "expired", "inactive"] | None:
        """Return why the token may not call, or None if it may."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return None if self.is_active else "inactive"


_TOKEN_COLUMNS = [name for name in TokenRow.__struct_fields__ if name in tokens.c]
_OF_PROJECT = {"project_name": projects.c.name, "project_policy_ids": projects.c.policy_ids}
_LISTS = ("allowed_models", "scopes", "policy_ids", "project_policy_ids", "upstreams")
_CREDENTIAL_COLUMNS = CredentialRow.__struct_fields__
_BY_FINGERPRINT = (
    select(
        *(tokens.c[name] for name in _TOKEN_COLUMNS),
        *(column.label(name) for name, column in _OF_PROJECT.items()),
        generation.c.number.label("generation"),
        *(credentials.c[name].label(_PREFIX + name) for name in _CREDENTIAL_COLUMNS),
    )
    .select_from(tokens)
    .join(generation, generation.c.id == 1)
    .join(projects, tokens.c.project_id == projects.c.id)
    .outerjoin(credentials, (tokens.c.credential_id == credentials.c.id) & _PRESENT)
)


def load_token(connection: Connection, fingerprint: bytes) -> TokenRow | None:
    """Return the token with this fingerprint, usable or not (see ``refusal``), or None."""
    row = connection.execute(_BY_FINGERPRINT.where(tokens.c.fingerprint == fingerprint)).mappings().one_or_none()
    if row is None:
        return None
    fields: dict[str, Any] = {name: row[name] for name in (*_TOKEN_COLUMNS, *_OF_PROJECT, "generation")}
    for name in _LISTS:
        fields[name] = tuple(fields[name])
    credential = None
    if row[f"{_PREFIX}id"] is not None:
        credential = CredentialRow(**{name: row[_PREFIX + name] for name in _CREDENTIAL_COLUMNS})
    return TokenRow(credential=credential, **fields)


def find_fingerprint(connection: Connection, token_id: str) -> bytes | None:
    """Return the fingerprint of the token with this id, or None."""
    fingerprint: bytes | None = connection.scalar(select(tokens.c.fingerprint).where(tokens.c.id == token_id))
    return fingerprint


def load_project_credentials(connection: Connection, project_id: str) -> list[CredentialRow]:
    """Return the credentials of a project, newest first: of one provider the first is the one to use."""
    query = (
        select(*(credentials.c[name] for name in _CREDENTIAL_COLUMNS))
        .where(credentials.c.project_id == project_id, _PRESENT)
        .order_by(credentials.c.created_at.desc(), credentials.c.id.desc())
    )
    return [CredentialRow(**row) for row in connection.execute(query).mappings()]


def load_policies(connection: Connection, policy_ids: Collection[str]) -> list[PolicyRow]:
    """Return those of these policies that are not deleted."""
    if not policy_ids:
        return []
    query = select(*(policies.c[name] for name in PolicyRow.__struct_fields__)).where(
        policies.c.id.in_(policy_ids), policies.c.deleted_at.is_(None)
    )
    return [PolicyRow(**row) for row in connection.execute(query).mappings()]


def load_project_policy_ids(connection: Connection, project_id: str) -> list[str]:
    """Return the policies that are attached to a project, in their order."""
    query = select(projects.c.policy_ids).where(projects.c.id == project_id)
    return list(connection.execute(query).scalar_one_or_none() or ())


def load_services(connection: Connection, project_id: str) -> list[ServiceRow]:
    """Return the services of a project that are switched on."""
    query = select(*(services.c[name] for name in ServiceRow.__struct_fields__)).where(
        services.c.project_id == project_id, services.c.deleted_at.is_(None), services.c.is_active
    )
    rows = connection.execute(query).mappings()
    return [ServiceRow(**{name: _frozen(value) for name, value in row.items()}) for row in rows]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
