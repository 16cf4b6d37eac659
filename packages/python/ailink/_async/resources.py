"""The management API: what can be done with each kind of thing that a gateway keeps.

Ids go into the path; wherever a token's id is wanted the whole token will do, and only its public part is sent.
Every method raises an ``AIlinkError`` when the gateway refuses or cannot be reached.
"""

import builtins
from typing import Any, Generic

from ailink._async.connection import AsyncConnection
from ailink._requests import management_path, query_from
from ailink._responses import M, item_from, items_from
from ailink.models import AuditLog, Credential, Project, Token


class AsyncReadable(Generic[M]):
    """Things of one kind, to look at."""

    def __init__(self, connection: AsyncConnection, resource: str, model: type[M]) -> None:
        self._connection = connection
        self._resource = resource
        self._model = model

    async def get(self, identifier: str, /) -> M:
        """The one with this id. Raises ``NotFoundError`` if there is none."""
        return await self._item("GET", identifier)

    async def list(self, **filters: Any) -> "builtins.list[M]":
        """One page, newest first.

        ``limit`` (1 to 100) is its size; ``starting_after`` the id after which it starts: the last one's of the
        page before. Other filters are those of the resource; write ``from_`` for ``from``.
        """
        path = management_path(self._resource)
        return items_from(await self._connection.manage("GET", path, params=query_from(filters)), self._model)

    async def _item(self, method: str, *segments: str, json: Any = None) -> M:
        path = management_path(self._resource, *segments)
        return item_from(await self._connection.manage(method, path, json=json), self._model)


class AsyncEditable(AsyncReadable[M]):
    """Things of one kind, to look at and to change."""

    async def create(self, *, name: str, **fields: Any) -> M:
        """Makes one. ``name`` must be new in its project. Raises ``ValidationError``, ``ConflictError``."""
        return await self._item("POST", json={"name": name, **fields})

    async def update(self, identifier: str, /, **fields: Any) -> M:
        """Changes the fields that are given, None included, and leaves the others as they are."""
        return await self._item("PATCH", identifier, json=fields)

    async def delete(self, identifier: str, /) -> None:
        """Removes it for good."""
        await self._connection.manage("DELETE", management_path(self._resource, identifier))


class AsyncProjects(AsyncEditable[Project]):
    """Projects. Deleting one revokes its tokens and keeps its records."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "projects", Project)


class AsyncCredentials(AsyncEditable[Credential]):
    """Upstream secrets: ``create(name=, provider=, secret=)``. A secret can be replaced but not read."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "credentials", Credential)

    async def rotate(self, identifier: str, /, *, secret: str) -> Credential:
        """Replaces the secret; tokens that use the credential go on working."""
        return await self._item("POST", identifier, "rotate", json={"secret": secret})


class AsyncTokens(AsyncEditable[Token]):
    """Virtual keys. ``create`` and ``rotate`` are the only ones to return the secret, as ``token_id``."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "tokens", Token)

    async def revoke(self, identifier: str, /) -> None:
        """Ends a token at once; its records stay. The same as ``delete``."""
        await self.delete(identifier)

    async def rotate(self, identifier: str, /) -> Token:
        """Gives a token a new secret and ends the old one."""
        return await self._item("POST", identifier, "rotate")


class AsyncAudit(AsyncReadable[AuditLog]):
    """The record of every call. Filters: ``session_id``, ``parent_span_id``, ``agent_name``, ``token_id``,
    ``model``, ``status``, ``from_`` and ``to`` (a ``datetime`` or ISO 8601 text)."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "audit", AuditLog)
