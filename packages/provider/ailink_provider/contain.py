"""Where code that is not ours is called: whatever goes wrong in it becomes a ``Failure``.

A third party's provider, factory or plug-in may raise anything. Nothing of it may take down who called, and nothing of
it but a type's name is told to a caller: messages of unknown exceptions may hold secrets. Cancellation is never caught.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ailink_provider.errors import Failure
from ailink_provider.resilience import APIError

# The HTTP statuses whose code is not that of their class.
_CODES = {
    401: "upstream_auth", 402: "insufficient_quota", 403: "upstream_auth", 404: "not_found", 408: "upstream_timeout",
    409: "conflict", 413: "payload_too_large", 429: "rate_limit_exceeded", 503: "upstream_overloaded",
    504: "upstream_timeout", 529: "upstream_overloaded",
}
logger = logging.getLogger("ailink")


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Let a ``Failure`` pass and raise every other exception of the block as one. ``what`` names the code at fault.

    An exception that no upstream explains is a defect, and logged with its traceback.
    """
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        if not isinstance(error, APIError | OSError):
            logger.error("%s broke", what, exc_info=error)
        raise failure_of(error, what) from error


def failure_of(error: Exception, what: str) -> Failure:
    """Return the failure that an exception of ``what`` means."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, APIError):
        status = error.status_code
        code = _CODES.get(status) or ("invalid_request" if 400 <= status < 500 else "upstream_failed")
        return Failure(code, error.message, retry_after=error.retry_after, upstream_status=status)
    if isinstance(error, TimeoutError):
        return Failure("upstream_timeout", f"{what} did not finish in time.")
    if isinstance(error, OSError):
        return Failure("upstream_failed", f"{what} lost its connection or found none ({type(error).__name__}).")
    return Failure("upstream_failed", f"{what} broke ({type(error).__name__}); the log says where.")
