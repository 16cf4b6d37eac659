"""What is kept of an approval, sealed under a key of its own: who asked what, the request that waits and its answer.

Stores nothing, and decides nothing.
"""

import hmac
from typing import Any

import msgspec

from ailink_gateway.approval import About, Approval, CanonicalRequest, KeptReply
from ailink_gateway.exchange import Exchange
from ailink_gateway.forward import REAL_AUTHORIZATION
from ailink_gateway.store.rows import Row
from ailink_gateway.vault import APPROVAL_HASHES, APPROVALS, Vault, approval_place


class Seals:
    """Seals the parts of approvals ("about", "request", "response") and opens them, each in its place alone."""

    def __init__(self, vault: Vault) -> None:
        # Under a key of the store's root, so that what is sealed here outlives a rotation of the master key as it is.
        self._vault = Vault(vault.derive(APPROVALS))
        self._hash_key = vault.derive(APPROVAL_HASHES)

    def approval(self, row: Row) -> Approval:
        """Return the approval of a row, with its answer if there is one in it."""
        reply = None
        if row.get("sealed_response") is not None:
            reply = msgspec.msgpack.decode(self._open(row, "response"), type=KeptReply)
        return Approval(
            about=msgspec.msgpack.decode(self._open(row, "about"), type=About),
            reply=reply,
            **{name: row[name] for name in Approval.__struct_fields__ if name not in ("about", "reply")},
        )

    def request(self, row: Row) -> CanonicalRequest:
        """Return the request of a row."""
        return msgspec.msgpack.decode(self._open(row, "request"), type=CanonicalRequest)

    def without_preview(self, row: Row) -> bytes:
        """Return what a row says of its approval, sealed again without the beginning of the request's body."""
        about = msgspec.msgpack.decode(self._open(row, "about"), type=About)
        return self.seal(row["project_id"], row["id"], "about", msgspec.structs.replace(about, preview=""))

    def seal(self, project_id: str, approval_id: str, part: str, value: msgspec.Struct) -> bytes:
        """Return a part as it is stored."""
        return self._vault.seal(msgspec.msgpack.encode(value), approval_place(project_id, approval_id, part))

    def _open(self, row: Row, part: str) -> bytes:
        return self._vault.open(row[f"sealed_{part}"], approval_place(row["project_id"], row["id"], part))

    def digest(self, exchange: Exchange, request: CanonicalRequest, rules: list[list[Any]]) -> bytes:
        """Return what equal requests of a token for the same approval have in common. Of a model's request only those
        headers count that go out, and the key that its caller brought: nobody is served with another's.
        """
        headers = request.headers
        if exchange.route.kind == "model":
            wanted = exchange.route.dialect.request_headers
            headers = [header for header in headers if header[0].decode("latin-1") in wanted]
        assert exchange.grant is not None
        parts = (
            exchange.grant.project_id, exchange.grant.token_id, request.method, request.raw_path, request.query,
            headers, request.body, request.targets, request.service, rules, exchange.headers.get(REAL_AUTHORIZATION),
        )  # fmt: skip
        return hmac.digest(self._hash_key, msgspec.msgpack.encode(parts), "sha256")
