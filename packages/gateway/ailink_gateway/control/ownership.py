"""Which requests are the control plane's, told from its own routes. All else is the data plane's."""

from collections.abc import Callable, Iterable

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from ailink_gateway.control.authentication import PUBLIC, READ, carries_admin_key

MANAGEMENT = "/api/v1/"
_ANY = None


def misdirected(path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request that is not ``owned`` is still the control plane's to refuse: below /api/, an admin key means
    management, and no call is made with one. With a token such a path is its upstream's.
    """
    return path.startswith("/api/") and carries_admin_key(headers)


def owned(control: FastAPI) -> Callable[[str, str], bool]:
    """Return ``matches(method, path)``, made once from the routes of ``control``; ``path`` is the ASGI scope's.

    A route of the management API is owned whatever the method, so that a wrong one is refused here and does not reach
    an upstream, and so is the page of an approval; another route only with its methods.
    """
    literal: dict[str, frozenset[str]] = dict.fromkeys(PUBLIC, READ)
    patterns: dict[int, list[list[str | None]]] = {}
    first_segments = {path.split("/")[1] for path in PUBLIC}
    for route in iter_route_contexts(control.routes):
        path = route.path
        if path is None or not route.methods:
            continue
        first_segments.add(path.split("/")[1])
        if "{" not in path:
            literal[path] = frozenset(route.methods) | literal.get(path, frozenset())
            continue
        segments = [_ANY if segment.startswith("{") else segment for segment in path.split("/")]
        patterns.setdefault(len(segments), []).append(segments)

    def matches(method: str, path: str) -> bool:
        if path[1:].partition("/")[0] not in first_segments:
            return False
        methods = literal.get(path)
        if methods is not None:
            return method in methods or path.startswith(MANAGEMENT)
        segments = path.split("/")
        return any(_fits(pattern, segments) for pattern in patterns.get(len(segments), ()))

    return matches


def _fits(pattern: list[str | None], segments: list[str]) -> bool:
    pairs = zip(pattern, segments, strict=True)
    return all(segment if wanted is _ANY else wanted == segment for wanted, segment in pairs)
