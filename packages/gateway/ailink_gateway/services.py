"""Calls of registered services: from /v1/proxy/services/{name}/... to the service and the path that is sent to it.

The rules of a service are checked against that very path, decoded as its reader will decode it, and with or without
the version that the service's URL ends in: both lead to the same place.
"""

from fnmatch import fnmatchcase
from urllib.parse import unquote

from ailink_gateway.exchange import Exchange
from ailink_gateway.forward import posing_methods, version_of
from ailink_gateway.grant import Grant, Service
from ailink_provider.errors import Failure

PREFIX = "/v1/proxy/services/"
SHOWN = 20  # names in a message about an unknown service


def enter(exchange: Exchange, name: str, grant: Grant) -> Service:
    """Return the service of an exchange, and leave in ``exchange.raw_path`` what is sent to it.

    Raises ``Failure``: ``not_found`` for an unknown service, ``policy_denied`` for what its rules forbid.
    """
    service = grant.services.get(name)
    if service is None or not name_service(exchange, name):
        raise _unknown(name, grant)
    _check_method(exchange, name, service)
    if service.allowed_paths or service.denied_paths:
        _check_path(exchange, name, service)
    return service


def name_service(exchange: Exchange, name: str) -> bool:
    """Have an exchange be a call of this service; return whether its path, as it was sent, names it."""
    prefix = (PREFIX + name).encode()
    if not exchange.raw_path.startswith(prefix):
        return False
    exchange.raw_path = exchange.raw_path[len(prefix) :] or b"/"
    exchange.service = name
    return True


def spellings(path: str, base: str) -> tuple[str, ...]:
    """Return the paths that lead to the same place below a base URL: with the version it ends in, and without."""
    version = version_of(base)
    if not version:
        return (path,)
    if path == version or path.startswith(version + "/"):
        return path, path[len(version) :] or "/"
    return version + path, path


def _check_method(exchange: Exchange, name: str, service: Service) -> None:
    if not service.methods:
        return
    for method in (exchange.method, *posing_methods(exchange)):
        if method not in service.methods:
            allowed = ", ".join(service.methods)
            raise _forbidden("method_not_allowed", f"The service {name} takes {allowed}, not {method[:32]}.")


def _check_path(exchange: Exchange, name: str, service: Service) -> None:
    path = unquote(exchange.raw_path.decode("latin-1"))
    paths = spellings(path, service.upstream.base)
    # Some servers would drop an empty segment, others not.
    closed = "//" in path or _fits(paths, service.denied_paths)
    if closed or (service.allowed_paths and not _fits(paths, service.allowed_paths)):
        raise _forbidden("path_not_allowed", f"The rules of the service {name} do not open {path[:128]}.")


def _fits(paths: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for path in paths for pattern in patterns)


def _unknown(name: str, grant: Grant) -> Failure:
    if grant.passthrough:
        message = "This token has no credential of the gateway's: it reaches its own upstream only, and no service."
        return _forbidden("path_not_allowed", message)
    known = ", ".join(sorted(grant.services)[:SHOWN])
    there = f"The project has: {known}." if known else "The project has none: register it first."
    return Failure("not_found", f"There is no service {name[:64]!r}. {there}")


def _forbidden(reason: str, message: str) -> Failure:
    return Failure("policy_denied", message, reason=reason)
