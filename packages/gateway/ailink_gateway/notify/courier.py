"""Delivers what is to be told, again until it arrives, and keeps a log of every attempt.

Each message has a task of its own, so a receiver that hangs holds up nobody. It goes out through the gateway's own
transport, whose guard decides which addresses may be reached.
"""

import asyncio
import logging
from collections.abc import Callable
from time import time
from typing import Any

from ailink_gateway.approval import Approval
from ailink_gateway.links import Links
from ailink_gateway.notify import slack, webhook
from ailink_gateway.store.approvals import delivered, insert_delivery
from ailink_gateway.store.store import Store, StoreUnavailable
from ailink_gateway.tokens import random_base62
from ailink_gateway.vault import Vault
from ailink_provider.errors import Failure
from ailink_provider.transport import Origin, Request, Sender

logger = logging.getLogger("ailink.notify")

ATTEMPT_SECONDS = 10.0
# Seconds before each attempt, while the approval is pending.
BACKOFF = (0.0, 5.0, 30.0, 120.0, 600.0)
USER_AGENT = b"ailink/0.1"
_GONE = 410


class Courier:
    """Tells of approvals.

    Args:
        store: where the log of deliveries is kept.
        vault: what the secrets of webhooks are derived from.
        sender: what carries them.
        links: what makes the links in them.
        now: the time, in Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        sender: Sender,
        links: Links,
        *,
        backoff: tuple[float, ...] = BACKOFF,
        now: Callable[[], float] = time,
    ) -> None:
        self._store, self._vault, self._sender, self._links = store, vault, sender, links
        self._backoff, self._now = backoff, now
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    def announce(self, approval: Approval) -> None:
        """Begin to tell whom ``about.notify`` names, except who has been told; returns at once."""
        for number, channel in enumerate(approval.about.notify):
            task = asyncio.create_task(self._tell(approval, f"msg_{approval.id[4:]}_{number}", channel))
            self._tasks.setdefault(approval.id, set()).add(task)
            task.add_done_callback(lambda done: self._done(approval.id, done))

    def forget(self, approval_id: str) -> None:
        """Tell no more of an approval that is decided."""
        for task in self._tasks.get(approval_id, ()):
            task.cancel()

    async def close(self) -> None:
        """Stop; who has not been told by then is told after the next start."""
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, approval_id: str, task: "asyncio.Task[None]") -> None:
        tasks = self._tasks[approval_id]
        tasks.discard(task)
        if not tasks:
            del self._tasks[approval_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s could not be announced", approval_id, exc_info=error)

    async def _tell(self, approval: Approval, message_id: str, channel: dict[str, Any]) -> None:
        if (approval.id, message_id) in await self._store.read(delivered, [approval.id]):
            return
        kind, url = str(channel.get("type")), str(channel.get("url"))
        for attempt, pause in enumerate(self._backoff, 1):
            await asyncio.sleep(pause)
            arrived, again, detail = await self._attempt(approval, message_id, kind, url)
            row = {
                "id": f"dlv_{random_base62(22)}", "approval_id": approval.id, "channel": kind, "message": message_id,
                "target": _showable(url), "attempt": attempt, "status": "delivered" if arrived else "failed",
                "detail": detail, "created_at": self._now(),
            }  # fmt: skip
            try:
                await self._store.write(insert_delivery, row)
            except StoreUnavailable as failure:  # people are told all the same
                logger.warning("an attempt to tell of %s is missing in the log: %s", approval.id, failure.message)
            if arrived or not again:
                return

    async def _attempt(self, approval: Approval, message_id: str, kind: str, url: str) -> tuple[bool, bool, str]:
        """Return whether it arrived, whether another attempt makes sense, and what is to be said of this one."""
        link = self._links.to(approval.id, approval.expires_at)
        if kind == "slack":
            body = slack.message(approval, link)
            headers = [(b"content-type", b"application/json")]
        else:
            body = webhook.event(approval, link)
            headers = webhook.headers(
                webhook.secret_of(self._vault, approval.project_id), message_id, self._now(), body
            )
        address, _, query = url.partition("?")
        try:
            origin, path = Origin.parse(address)
            target = path + ("/" if address.endswith("/") or not path else "") + (f"?{query}" if query else "")
            request = Request("POST", origin, target.encode(), [*headers, (b"user-agent", USER_AGENT)], body)
            deadline = asyncio.get_running_loop().time() + ATTEMPT_SECONDS
            response = await self._sender.send(request, deadline)
        except Failure as failure:
            again = failure.code != "invalid_request" and failure.reason != "address_not_allowed"
            return False, again, failure.message[:300]
        response.close()
        return 200 <= response.status < 300, response.status != _GONE, f"answered {response.status}"


def _showable(url: str) -> str:
    """Return where a message goes as far as it may be shown: the path of such a URL is often a secret."""
    try:
        return f"{Origin.parse(url.partition('?')[0])[0]}/…"
    except Failure:
        return "a URL that cannot be used"
