"""How the routes of a resource are set up: below /api/v1, authenticated, with the refusals that all share.

Each has a scope, without which an admin key may not use it. It stands in OpenAPI as ``x-scope``.
"""

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from ailink_gateway.control.authentication import AUTHENTICATED
from ailink_gateway.control.edge import WITH_BODY
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.scopes import SCOPE

_READING = frozenset({"GET", "HEAD"})


class ScopedRoute(APIRoute):
    """A route with a scope: the one it declares (see ``scope``), else its resource's ``read`` or ``write``."""

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        methods = frozenset(options.get("methods") or ("GET",))
        resource = path.removeprefix("/api/v1/").partition("/")[0]
        default = f"{resource}:{'read' if methods <= _READING else 'write'}"
        options["openapi_extra"] = {SCOPE: default, **(options.get("openapi_extra") or {})}
        if not methods.isdisjoint(WITH_BODY):
            options["responses"] = {**(options.get("responses") or {}), **refusals(413)}
        super().__init__(path, endpoint, **options)


def resource(name: str) -> APIRouter:
    """Return an empty router for the resource ``name``. The names of its handlers are OpenAPI's operation ids."""
    return APIRouter(
        prefix=f"/api/v1/{name}", tags=[name], dependencies=AUTHENTICATED, responses=refusals(),
        generate_unique_id_function=operation_id, route_class=ScopedRoute,
    )


def scope(name: str) -> dict[str, str]:
    """Return what a route says as its ``openapi_extra`` that needs another scope than its resource's usual one."""
    return {SCOPE: name}


def operation_id(route: APIRoute) -> str:
    """Return what OpenAPI calls the operation."""
    return route.name
