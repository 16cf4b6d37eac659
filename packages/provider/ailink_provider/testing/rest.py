"""Any other API: it takes every method and path and tells what it received."""

from collections.abc import Iterator

from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Vendor, Whole, encode


class Rest:
    """An API without a vendor. Its answer to anything is 200 and
    ``{"method", "path", "query": [[name, value]], "headers": {...}, "body": text}``."""

    name = "rest"
    credentials: tuple[tuple[str, str], ...] = (("authorization", "Bearer "),)
    errors = {404: "missing", 401: "auth", 403: "auth"}

    def operation(self, method: str, path: str) -> str | None:
        """Every path has the same operation."""
        return "echo"

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """There are no rules beyond those of headers."""
        return iter(())

    def model(self, request: Received) -> str:
        """There are no models."""
        return ""

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the echo."""
        echo = {
            "method": request.method, "path": request.path, "query": request.query, "headers": request.headers,
            "body": request.body.decode("utf-8", "replace"),
        }
        return Whole(200, [("content-type", "application/json")], encode(echo))

    def refuse(self, refusal: Refusal) -> Whole:
        """Return an error in a plain shape."""
        status = refusal.status or {"auth": 401, "missing": 404, "server": 500}.get(refusal.kind, 400)
        body = {"error": refusal.message or refusal.kind}
        headers = [("content-type", "application/json")]
        if refusal.retry_after is not None:
            headers.append(("retry-after", f"{refusal.retry_after:g}"))
        return Whole(status, headers, encode(body))

    def error_event(self, refusal: Refusal) -> bytes:
        """Return an event that says so."""
        return b"event: error\ndata: %b\n\n" % encode({"error": refusal.message or refusal.kind})


VENDOR: Vendor = Rest()
