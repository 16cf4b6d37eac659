"""How each kind of thing stands in a configuration file: its fields by name, and what it is made and changed with.

What may stand there is what the resource's own input takes, with names in the place of ids.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, JsonValue
from sqlalchemy import Connection

from ailink_gateway.control.fields import Input, Name, Reference, seconds
from ailink_gateway.control.policies import PolicyInput, new_policy
from ailink_gateway.control.projects import ID_LENGTH as PROJECT_ID_LENGTH
from ailink_gateway.control.services import ID_LENGTH as SERVICE_ID_LENGTH
from ailink_gateway.control.services import ServiceInput
from ailink_gateway.control.tokens import TokenInput, new_token
from ailink_gateway.control.upstreams import check_upstreams, checked_policy
from ailink_gateway.store.configuration import Present
from ailink_gateway.store.policies import DOCUMENT, attach_to_project, insert_policy, update_policy
from ailink_gateway.store.projects import DEFAULT, insert_project
from ailink_gateway.store.rows import Row
from ailink_gateway.store.services import insert_service, update_service
from ailink_gateway.store.tokens import insert_token, update_token
from ailink_gateway.tokens import random_base62
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure
from ailink_provider.transport import Guard

# A field that holds an id, and what it is called where it holds a name.
NAMED = {"project_id": "project", "credential_id": "credential", "policy_ids": "policies"}
_IDS = {name: field for field, name in NAMED.items()}


class ProjectEntry(Input):
    """A project."""

    name: Name
    policy_ids: list[Reference] = Field([], max_length=100)


class PolicyEntry(PolicyInput):
    """A policy."""

    rules: list[JsonValue] = Field(max_length=100)


class TokenEntry(TokenInput):
    """A token."""

    policy_ids: list[Reference] = Field([], max_length=100)
    is_active: bool = True


Create = Callable[[Connection, Any, Vault, float], tuple[Row, str | None]]
Update = Callable[[Connection, Row, dict[str, Any], float], Row]
Check = Callable[[Guard, Row, str], object]


class Kind(NamedTuple):
    """One kind of thing. ``check`` raises ``Failure`` for fields, at a place in the file, that may not be stored;
    ``partial`` are the fields of which an entry may mention a part.
    """

    name: Literal["project", "policy", "service", "token"]
    section: str
    input: type[BaseModel]
    create: Create
    update: Update
    check: Check
    partial: tuple[str, ...] = ()

    def differing(self, body: BaseModel, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that a stored row has otherwise, as they are to be stored."""
        wanted = _stored(body)
        return {name: value for name, value in wanted.items() if name != "project_id" and row[name] != value}

    def change(self, connection: Connection, row: Mapping[str, Any], fields: dict[str, Any], now: float) -> Row:
        """Change a row and return it. Raises ``Failure`` for an expiry that is over."""
        if (expires_at := fields.get("expires_at")) is not None and expires_at <= now:
            raise Failure("validation_error", f"expires_at of {row['name']!r} lies in the past: give a later moment.",
                          param="expires_at")  # fmt: skip
        return self.update(connection, dict(row), fields, now)


class Names:
    """Which id is called how, and the other way round; within a project for all but projects."""

    def __init__(self, present: Present) -> None:
        self.projects: dict[str, str] = {}
        self.project_ids: dict[str, str] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._ids: dict[tuple[str, str, str], str] = {}
        for row in present.projects:
            self.add(KINDS[0], row)
        for row in present.credentials:
            self._put("credential", row)
        for row in present.policies:
            self._put("policy", row)

    def add(self, kind: Kind, row: Mapping[str, Any]) -> None:
        """Note one more thing."""
        if kind.name == "project":
            self.projects[row["id"]] = row["name"]
            self.project_ids[row["name"]] = row["id"]
        else:
            self._put(kind.name, row)

    def _put(self, kind: str, row: Mapping[str, Any]) -> None:
        self._names[kind, row["id"]] = row["name"]
        self._ids[kind, row["project_id"], row["name"]] = row["id"]

    def name(self, kind: str, identity: str | None) -> str | None:
        """Return what something is called, None if it is no more."""
        return None if identity is None else self._names.get((kind, identity))

    def identity(self, kind: str, project_id: str, name: Any, where: str) -> str:
        """Return the id of something by its name. Raises ``Failure`` (``validation_error``)."""
        found = self._ids.get((kind, project_id, name)) if isinstance(name, str) else None
        if found is None:
            message = f"{where}: the project has no {kind} {str(name)[:64]!r}; create it first."
            raise Failure("validation_error", message, param=where)
        return found


def as_declared(kind: Kind, row: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return a stored row as it stands in a file."""
    entry: dict[str, Any] = {}
    if "project_id" in kind.input.model_fields:
        entry["project"] = names.projects[row["project_id"]]
    for field in kind.input.model_fields:
        value = row[field]
        if field == "credential_id":
            value = names.name("credential", value)
        elif field == "policy_ids":
            value = [name for name in (names.name("policy", one) for one in value) if name is not None]
        elif field == "upstreams":
            value = [_upstream_declared(one, names) for one in value]
        elif field == "expires_at" and value is not None:
            value = datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
        if field != "project_id":
            entry[NAMED.get(field, field)] = value
    return entry


def as_stored(kind: Kind, entry: Mapping[str, Any], names: Names, where: str) -> BaseModel:
    """Return what an entry of a file asks for. Raises ``Failure`` for a name of nothing, ``ValidationError``."""
    fields: dict[str, Any] = {}
    project_id = names.project_ids.get(entry["project"], "") if "project" in entry else DEFAULT
    if kind.name == "project":
        project_id = names.project_ids.get(entry["name"], "")
    for name, value in entry.items():
        place = f"{where}.{name}"
        if name in NAMED:
            raise _numbered(name, place)
        if name == "project" and kind.name != "project":
            value = project_id
        elif name == "credential" and value is not None:
            value = names.identity("credential", project_id, value, place)
        elif name == "policies" and isinstance(value, list):
            value = [names.identity("policy", project_id, one, place) for one in value]
        elif name == "upstreams" and isinstance(value, list):
            value = [
                _upstream_stored(one, project_id, names, f"{place}.{index}") for index, one in enumerate(value)
            ]
        fields[_IDS.get(name, name)] = value
    return kind.input.model_validate(fields)


def _upstream_declared(upstream: Mapping[str, Any], names: Names) -> dict[str, Any]:
    entry = dict(upstream)
    if "credential_id" in entry:
        entry["credential"] = names.name("credential", entry.pop("credential_id"))
    return entry


def _upstream_stored(entry: Any, project_id: str, names: Names, where: str) -> Any:
    if not isinstance(entry, dict):
        return entry
    if "credential_id" in entry:
        raise _numbered("credential_id", f"{where}.credential_id")
    if "credential" not in entry:
        return entry
    upstream = dict(entry)
    name = upstream.pop("credential")
    identity = None if name is None else names.identity("credential", project_id, name, f"{where}.credential")
    return {**upstream, "credential_id": identity}


def _numbered(field: str, place: str) -> Failure:
    return Failure("validation_error", f"{place}: files have names here, as {NAMED[field]!r}.", param=place)


def _stored(body: BaseModel) -> dict[str, Any]:
    fields = body.model_dump()
    if fields.get("expires_at") is not None:
        fields["expires_at"] = seconds(fields["expires_at"])
    return fields


def _create_project(connection: Connection, body: ProjectEntry, vault: Vault, now: float) -> tuple[Row, None]:
    return insert_project(connection, random_base62(PROJECT_ID_LENGTH), body.name, now), None


def _update_project(connection: Connection, row: Row, fields: dict[str, Any], now: float) -> Row:
    return attach_to_project(connection, row["id"], fields)


def _create_policy(connection: Connection, body: PolicyEntry, vault: Vault, now: float) -> tuple[Row, None]:
    return insert_policy(connection, new_policy(body.model_dump(), now)), None


def _update_policy(connection: Connection, row: Row, fields: dict[str, Any], now: float) -> Row:
    return update_policy(connection, row["id"], fields, row["version"], now)


def _check_policy(guard: Guard, fields: Row, _where: str) -> None:
    checked_policy(guard, {name: fields[name] for name in DOCUMENT}, place=f"policies[{fields['name']}]")


def _create_service(connection: Connection, body: ServiceInput, vault: Vault, now: float) -> tuple[Row, None]:
    row = {**body.model_dump(), "id": f"svc_{random_base62(SERVICE_ID_LENGTH)}", "created_at": now}
    return insert_service(connection, row), None


def _update_service(connection: Connection, row: Row, fields: dict[str, Any], now: float) -> Row:
    return update_service(connection, row["id"], fields)


def _create_token(connection: Connection, body: TokenEntry, vault: Vault, now: float) -> tuple[Row, str]:
    row, secret = new_token(body, vault, now)
    row |= {"policy_ids": body.policy_ids, "is_active": body.is_active}
    return insert_token(connection, row), secret


def _update_token(connection: Connection, row: Row, fields: dict[str, Any], now: float) -> Row:
    return update_token(connection, row["id"], fields)


# In the order in which one may name another.
KINDS = (
    Kind("project", "projects", ProjectEntry, _create_project, _update_project, check_upstreams),
    Kind("policy", "policies", PolicyEntry, _create_policy, _update_policy, _check_policy, ("retry",)),
    Kind("service", "services", ServiceInput, _create_service, _update_service, check_upstreams),
    Kind("token", "tokens", TokenEntry, _create_token, _update_token, check_upstreams, ("circuit_breaker",)),
)
