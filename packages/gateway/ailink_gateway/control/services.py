"""Services: APIs registered by name, which every token of the project calls below /v1/proxy/services/{name}/."""

from typing import Annotated, Literal

from fastapi import Query
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from ailink_gateway.control.context import Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import (
    Deleted,
    Input,
    Listing,
    Moment,
    Page,
    ProjectId,
    Reference,
    changes,
    optional,
)
from ailink_gateway.control.resource import resource
from ailink_gateway.control.upstreams import UpstreamUrl, check_upstreams
from ailink_gateway.store import services as table
from ailink_gateway.store.projects import DEFAULT
from ailink_gateway.tokens import random_base62

ID_LENGTH = 24

router = resource("services")


def _path_pattern(pattern: str) -> str:
    if not pattern.startswith(("/", "*")) or not pattern.isprintable():
        raise PydanticCustomError("path_pattern", "must begin with / or *, such as /v1/charges*")
    return pattern


# It stands in URLs.
ServiceName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Description = Annotated[str, Field(max_length=1024)]
Method = Annotated[str, Field(pattern=r"^[A-Z]{3,16}$")]
PathPattern = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_path_pattern)]
Kind = Literal["generic", "llm"]

_METHODS = "Methods that may be used; none for all."
_ALLOWED = "Paths below the base URL that may be called, as globs; none for all."
_DENIED = "Paths that may not be called, as globs; they win."
_KIND = "llm: it serves models, in the format of its vendor or OpenAI's, so its calls are priced as a model's."


class ServiceInput(Input):
    """A new service."""

    name: ServiceName = Field(examples=["stripe"])
    project_id: ProjectId = DEFAULT
    base_url: UpstreamUrl = Field(examples=["https://api.stripe.com"])
    description: Description = Field("", examples=["Payment processing"])
    service_type: Kind = Field("generic", description=_KIND)
    credential_id: Reference | None = Field(None, description="The project's credential that is put into its calls.")
    methods: list[Method] = Field([], max_length=16, description=_METHODS, examples=[["GET", "POST"]])
    allowed_paths: list[PathPattern] = Field([], max_length=100, description=_ALLOWED, examples=[["/v1/charges*"]])
    denied_paths: list[PathPattern] = Field([], max_length=100, description=_DENIED)
    is_active: bool = True


class ServiceChange(Input):
    """What is to change. null takes the credential away."""

    name: ServiceName = optional()
    base_url: UpstreamUrl = optional()
    description: Description = optional()
    service_type: Kind = optional(description=_KIND)
    credential_id: Reference | None = None
    methods: list[Method] = optional(max_length=16)
    allowed_paths: list[PathPattern] = optional(max_length=100)
    denied_paths: list[PathPattern] = optional(max_length=100)
    is_active: bool = optional(description="false switches the service off, true on again.")


class Service(BaseModel):
    """A service."""

    id: str = Field(examples=["svc_2Rk9TzQf4LmX0vBnYw6hJcUa"])
    name: str = Field(examples=["stripe"])
    project_id: str
    base_url: str
    description: str
    service_type: Kind
    credential_id: str | None
    methods: list[str]
    allowed_paths: list[str]
    denied_paths: list[str]
    is_active: bool
    created_at: Moment


class ServiceListing(Listing):
    """Which services are asked for."""

    project_id: Reference | None = None


@router.post("", status_code=201, responses=refusals(409))
async def create_service(body: ServiceInput, given: Given) -> Service:
    """Register an API. Its project's tokens reach it below `/v1/proxy/services/{name}/` at once."""
    fields = body.model_dump()
    check_upstreams(given.guard, fields)
    row = {**fields, "id": f"svc_{random_base62(ID_LENGTH)}", "created_at": given.now()}
    return Service.model_validate(await given.store.change(table.insert_service, row))


@router.get("")
async def list_services(listing: Annotated[ServiceListing, Query()], given: Given) -> Page[Service]:
    """List services, newest first."""
    rows, has_more = await given.store.read(
        table.list_services, listing.limit, listing.starting_after, listing.project_id,
    )
    return Page(data=[Service.model_validate(row) for row in rows], has_more=has_more)


@router.get("/{id}", responses=refusals(404))
async def get_service(id: str, given: Given) -> Service:
    """Get one service."""
    return Service.model_validate(await given.store.read(table.find_service, id))


@router.patch("/{id}", responses=refusals(404, 409))
@router.put("/{id}", include_in_schema=False)
async def update_service(id: str, body: ServiceChange, given: Given) -> Service:
    """Change a service. PUT does the same."""
    fields = changes(body)
    check_upstreams(given.guard, fields)
    return Service.model_validate(await given.store.change(table.update_service, id, fields))


@router.delete("/{id}", responses=refusals(404))
async def delete_service(id: str, given: Given) -> Deleted:
    """Delete a service. Before the answer, it is no longer reached."""
    await given.store.change(table.delete_service, id, given.now())
    return Deleted(id=id)
