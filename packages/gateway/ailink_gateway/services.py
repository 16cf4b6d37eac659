"""Calls of registered services: from /v1/proxy/services/{name}/... to the service and the path that is sent to it.

The rules of a service are checked against that very path, undecoded.
"""

from fnmatch import fnmatchcase

from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant, Service
from ailink_provider.errors import Failure

PREFIX = "/v1/proxy/services/"
SHOWN = 20  # names in a message about an unknown service


def enter(exchange: Exchange, name: str, grant: Grant) -> Service:
    """Return the service of an exchange, and leave in ``exchange.raw_path`` what is sent to it.

    Raises ``Failure``: ``not_found`` for an unknown service, ``policy_denied`` for what its rules forbid.
    """
    service = grant.services.get(name)
    prefix = (PREFIX + name).encode()
    if service is None or not exchange.raw_path.startswith(prefix):
        raise _unknown(name, grant)
    exchange.raw_path = exchange.raw_path[len(prefix) :] or b"/"
    exchange.service = name
    path = exchange.raw_path.decode("latin-1")
    if service.methods and exchange.method not in service.methods:
        allowed = ", ".join(service.methods)
        raise _forbidden("method_not_allowed", f"The service {name} takes {allowed}, not {exchange.method}.")
    if _fits(path, service.denied_paths) or (service.allowed_paths and not _fits(path, service.allowed_paths)):
        raise _forbidden("path_not_allowed", f"The rules of the service {name} do not open {path[:128]}.")
    return service


def _fits(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _unknown(name: str, grant: Grant) -> Failure:
    if grant.passthrough:
        message = "This token has no credential of the gateway's: it reaches its own upstream only, and no service."
        return _forbidden("path_not_allowed", message)
    known = ", ".join(sorted(grant.services)[:SHOWN])
    there = f"The project has: {known}." if known else "The project has none: register it first."
    return Failure("not_found", f"There is no service {name[:64]!r}. {there}")


def _forbidden(reason: str, message: str) -> Failure:
    return Failure("policy_denied", message, reason=reason)
