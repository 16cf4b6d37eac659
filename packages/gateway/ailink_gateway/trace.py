"""W3C trace context: reads the caller's ``traceparent`` and writes the one that goes on upstream. Starts no trace."""

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class Trace(NamedTuple):
    """Where a call stands in the caller's trace: the trace, the caller's span, the flags; all lower-case hex."""

    trace_id: bytes
    parent_id: bytes
    flags: bytes


def read_traceparent(value: bytes | None) -> Trace | None:
    """Return what a ``traceparent`` header says, or None if it is missing or not valid."""
    if value is None or (found := _TRACEPARENT.fullmatch(value)) is None:
        return None
    return Trace(*found.groups())


def span_of(exchange_id: str) -> str:
    """Return the id of the gateway's own span of an exchange, 16 hex digits."""
    return exchange_id[-16:]


def write_traceparent(trace: Trace, exchange_id: str) -> bytes:
    """Return the header that makes the upstream's spans children of the gateway's."""
    return b"00-%b-%b-%b" % (trace.trace_id, span_of(exchange_id).encode(), trace.flags)
