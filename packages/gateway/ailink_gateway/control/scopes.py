"""What an admin key may do: scopes, and which one each route needs. A route without one is the operator's alone.

``<resource>:write`` and ``approvals:decide`` include reading their resource; ``*`` is everything.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from starlette.routing import BaseRoute, Route

SCOPE = "x-scope"
EVERYTHING = "*"
ALL = frozenset({EVERYTHING})


class Found(NamedTuple):
    """The route that a request leads to: its path with its parameters unfilled, and the scope it needs."""

    path: str
    scope: str | None


def finder(routes: Sequence[BaseRoute]) -> Callable[[str, str], Found | None]:
    """Return ``find(method, path)``, which tells the route as the router will; None if there is none."""
    known = [route for route in routes if isinstance(route, Route)]

    def find(method: str, path: str) -> Found | None:
        for route in known:
            if method in (route.methods or ()) and route.path_regex.match(path):
                return Found(route.path, scope_of(route))
        return None

    return find


def scope_of(route: BaseRoute) -> str | None:
    """Return the scope that a route declares."""
    declared: str | None = (getattr(route, "openapi_extra", None) or {}).get(SCOPE)
    return declared


def known_scopes(routes: Iterable[BaseRoute]) -> frozenset[str]:
    """Return every scope that a key can have."""
    return frozenset(filter(None, map(scope_of, routes))) | ALL


def allows(scopes: Collection[str], wanted: str) -> bool:
    """Whether these scopes include ``wanted``."""
    if EVERYTHING in scopes or wanted in scopes:
        return True
    resource, _, verb = wanted.partition(":")
    return verb == "read" and any(f"{resource}:{stronger}" in scopes for stronger in ("write", "decide"))


def lacking(scopes: Collection[str], wanted: Iterable[str]) -> list[str]:
    """Return those of ``wanted`` that these scopes do not include."""
    return sorted(scope for scope in set(wanted) if not allows(scopes, scope))
