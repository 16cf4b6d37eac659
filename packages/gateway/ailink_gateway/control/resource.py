"""How the routes of a resource are set up: below /api/v1, authenticated, with the refusals that all share."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from ailink_gateway.control.authentication import AUTHENTICATED
from ailink_gateway.control.errors import refusals


def resource(name: str) -> APIRouter:
    """Return an empty router for the resource ``name``. The names of its handlers are OpenAPI's operation ids."""
    return APIRouter(
        prefix=f"/api/v1/{name}", tags=[name], dependencies=AUTHENTICATED, responses=refusals(),
        generate_unique_id_function=operation_id,
    )


def operation_id(route: APIRoute) -> str:
    """Return what OpenAPI calls the operation."""
    return route.name
