"""Credentials: the upstream secrets that agents never see. A secret goes in and never comes out again."""

import re
from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import AfterValidator, BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from ailink_gateway.control.context import GENERIC, Context, Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import (
    Deleted,
    Input,
    Listing,
    Moment,
    Name,
    Page,
    ProjectId,
    Reference,
    Secret,
    changes,
    optional,
)
from ailink_gateway.control.resource import resource
from ailink_gateway.store import credentials as table
from ailink_gateway.store.projects import DEFAULT
from ailink_gateway.tokens import random_base62
from ailink_gateway.vault import credential_place
from ailink_provider.errors import Failure

ID_LENGTH = 24

router = resource("credentials")

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Headers that belong to the connection or to the gateway; a secret in one of them would never arrive or do harm.
_NOT_FOR_SECRETS = frozenset({
    "connection", "content-length", "content-type", "cookie", "expect", "host", "keep-alive", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
})


def _header_name(name: str) -> str:
    folded = name.lower().replace("_", "-")
    if not _HEADER_NAME.fullmatch(name) or folded in _NOT_FOR_SECRETS or folded.startswith("x-ailink-"):
        raise PydanticCustomError("header_name", "must name a header that can carry a secret, such as X-API-Key")
    return name


Injection = Literal["bearer", "basic", "header", "query"]
HeaderName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_header_name)]
QueryName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._~-]+$")]


class _Injected(Input):
    """How a secret is put into a call; the three fields make sense together only."""

    injection: Injection | None = Field(
        None,
        description="bearer; basic (a secret `user:password`, or a user name alone); header (`header_name`); query "
        "(`query_name`). Without it, the provider's own way; for generic, bearer.",
    )
    header_name: HeaderName | None = Field(None, examples=["X-API-Key"])
    query_name: QueryName | None = Field(None, examples=["api_key"])

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for injection, name in (("header", "header_name"), ("query", "query_name")):
            given = getattr(self, name) is not None
            if given and self.injection != injection:
                raise Failure("validation_error", f"{name} goes with injection {injection!r} alone.", param=name)
            if self.injection == injection and not given:
                raise Failure("validation_error", f"injection {injection!r} needs {name}.", param=name)
        return self


class CredentialInput(_Injected):
    """A new credential."""

    name: Name = Field(examples=["billing-key"])
    project_id: ProjectId = DEFAULT
    provider: Reference = Field(GENERIC, description="Whose secret it is, or generic.", examples=["generic"])
    secret: Secret = Field(
        description="The secret. It is stored encrypted and never shown. For bedrock an API key, or an AWS key as "
        "`ACCESS_KEY:SECRET` or `ACCESS_KEY:SECRET:SESSION_TOKEN`; for vertex the JSON of a service account's key "
        "file.",
        examples=["sk-..."],
    )


class CredentialChange(_Injected):
    """What is to change. The three injection fields change together."""

    name: Name = optional(examples=["billing-key-eu"])


class Rotation(Input):
    """The secret that takes the old one's place."""

    secret: Secret = Field(examples=["sk-..."])


class Credential(BaseModel):
    """A credential, without its secret."""

    id: str = Field(examples=["cred_5Xl0cPq9RbTz3WnYgK7uHdSa"])
    name: str = Field(examples=["billing-key"])
    project_id: str = Field(examples=["default"])
    provider: str = Field(examples=["generic"])
    injection: Injection | None
    header_name: str | None
    query_name: str | None
    created_at: Moment
    rotated_at: Moment | None


class CredentialListing(Listing):
    """Which credentials are asked for."""

    project_id: Reference | None = None
    provider: Reference | None = None


@router.post("", status_code=201, responses=refusals(409))
async def create_credential(body: CredentialInput, given: Given) -> Credential:
    """Store a secret."""
    if body.provider != GENERIC and body.provider not in given.providers:
        known = ", ".join(sorted(given.providers | {GENERIC}))
        raise Failure("validation_error", f"The provider {body.provider!r} is not known here: use one of {known}.",
                      param="provider")
    injection = body.injection
    if injection is None and body.provider == GENERIC:
        injection = "bearer"
    credential_id = f"cred_{random_base62(ID_LENGTH)}"
    row = {
        "id": credential_id, "created_at": given.now(), "injection": injection,
        **body.model_dump(include={"name", "project_id", "provider", "header_name", "query_name"}),
        **_sealed(given, body.project_id, credential_id, body.secret),
    }
    return Credential.model_validate(await given.store.change(table.insert_credential, row))


@router.get("")
async def list_credentials(listing: Annotated[CredentialListing, Query()], given: Given) -> Page[Credential]:
    """List credentials, newest first."""
    rows, has_more = await given.store.read(
        table.list_credentials, listing.limit, listing.starting_after, listing.project_id, listing.provider,
    )
    return Page(data=[Credential.model_validate(row) for row in rows], has_more=has_more)


@router.get("/{id}", responses=refusals(404))
async def get_credential(id: str, given: Given) -> Credential:
    """Get one credential."""
    return Credential.model_validate(await given.store.read(table.find_credential, id))


@router.patch("/{id}", responses=refusals(404, 409))
@router.put("/{id}", include_in_schema=False)
async def update_credential(id: str, body: CredentialChange, given: Given) -> Credential:
    """Rename a credential, or change how it is injected. PUT does the same; a new secret goes to `/rotate`."""
    fields = changes(body)
    if "injection" in fields:
        fields |= {"header_name": body.header_name, "query_name": body.query_name}
    return Credential.model_validate(await given.store.change(table.update_credential, id, fields))


@router.post("/{id}/rotate", responses=refusals(404))
async def rotate_credential(id: str, body: Rotation, given: Given) -> Credential:
    """Put a new secret in the place of the old one. Calls that begin after the answer use it."""
    project_id = (await given.store.read(table.find_credential, id))["project_id"]
    fields = {"rotated_at": given.now(), **_sealed(given, project_id, id, body.secret)}
    return Credential.model_validate(await given.store.change(table.update_credential, id, fields))


@router.delete("/{id}", responses=refusals(404, 409))
async def delete_credential(id: str, given: Given) -> Deleted:
    """Delete a credential and erase its secret.

    While tokens use it, that is a conflict (409), and the answer names them.
    """
    await given.store.change(table.delete_credential, id, given.now())
    return Deleted(id=id)


def _sealed(given: Context, project_id: str, credential_id: str, secret: str) -> dict[str, Any]:
    sealed = given.vault.seal(secret.encode(), credential_place(project_id, credential_id))
    return {"sealed": sealed, "key_id": given.vault.key_id}
