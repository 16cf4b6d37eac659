"""How long each step of an exchange may take, and the failure that says which one took longer."""

from msgspec import Struct

from ailink_provider.errors import Failure


class Timeouts(Struct, frozen=True):
    """Seconds. ``None`` is no limit.

    ``connect`` covers the name's look-up, TCP and TLS together. ``first_byte`` runs from the end of the request to
    the end of the answer's header block, so a server that trickles its headers gains nothing. ``between_bytes`` is
    the longest silence within a body; it stands still while the reader is the slow one. ``write`` is the longest
    time in which the upstream takes none of a request (noticed after at most twice that). ``pool`` is the wait
    for a connection where all are busy. ``total`` runs from ``send`` to the body's last byte.
    """

    connect: float = 10.0
    first_byte: float = 600.0
    between_bytes: float = 300.0
    total: float | None = None
    pool: float = 10.0
    write: float = 60.0


_LATE = {
    "connect": "could not be connected to within {seconds:g} s",
    "first_byte": "did not begin its answer within {seconds:g} s",
    "between_bytes": "sent nothing more of its answer for {seconds:g} s",
    "write": "took nothing more of the request for {seconds:g} s",
    "total": "did not finish before the deadline of the call",
}


def late(authority: str, limit: str, seconds: float = 0.0) -> Failure:
    """Return the failure for the upstream at ``authority`` that passed ``limit``, a field of ``Timeouts``."""
    what = _LATE[limit].format(seconds=seconds)
    return Failure("upstream_timeout", f"{authority} {what} (limit: {limit}).", reason=f"{limit}_timeout")
