"""Which models a provider has, asked of the provider itself where its wire format has a question for that.

It asks in the background, at the start and from time to time, and never while a call waits. What it keeps is bounded;
of a provider that does not answer it keeps what was said last.
"""

import asyncio
import logging
from typing import Any

import msgspec

from ailink_gateway.forward import USER_AGENT, sign
from ailink_gateway.grant import Snapshot, Upstream
from ailink_provider.errors import Failure
from ailink_provider.transport import Request

INTERVAL = 60.0  # seconds between two questions
PATIENCE = 10.0  # seconds for one answer
ANSWER_LIMIT = 4 * 1024 * 1024
MODELS = 1_000
NAME_LENGTH = 256

logger = logging.getLogger("ailink")


class Discovery:
    """Keeps ``snapshot.discovered`` up to date for the providers of ``snapshot.environment``.

    Args:
        snapshot: what every token may reach; nothing else of it changes.
        interval: seconds between two questions to the same provider.
    """

    def __init__(self, snapshot: Snapshot, interval: float = INTERVAL) -> None:
        self._upstreams = {
            name: upstream for name, upstream in snapshot.environment.items() if upstream.dialect.models_path
        }
        self._found, self._interval = snapshot.discovered, interval
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to ask."""
        self._running = [asyncio.create_task(self._watch(name)) for name in self._upstreams]

    async def stop(self) -> None:
        """Ask no more."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _watch(self, name: str) -> None:
        heard: str | None = None
        while True:
            try:
                self._found[name] = await _ask(self._upstreams[name])
                said = ""
            except Failure as failure:
                said = failure.message
            if said and said != heard:
                logger.warning("the models of %s are not known: %s", name, said)
            heard = said
            await asyncio.sleep(self._interval)


async def _ask(upstream: Upstream) -> tuple[str, ...]:
    dialect, key = upstream.dialect, upstream.key
    assert dialect.read_models is not None  # it has a path
    headers = [(b"accept", b"application/json"), (b"accept-encoding", b"identity"), (b"user-agent", USER_AGENT)]
    if key is not None and key.header is not None:
        headers.append((key.header, key.value))
    target = (upstream.models + dialect.models_path).encode()
    request = Request("GET", upstream.origin, target, headers, resend=True)
    deadline = asyncio.get_running_loop().time() + PATIENCE
    if key is None:
        await sign(request, upstream)
    response = await upstream.sender.send(request, deadline)
    body = await response.read(ANSWER_LIMIT)
    if response.status != 200:
        raise Failure("upstream_failed", f"{upstream.label} answered {response.status} when asked for its models.")
    try:
        tree = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure("upstream_failed", f"{upstream.label} answered no JSON when asked for its models.") from None
    names = [name for name in dialect.read_models(tree) if 0 < len(name) <= NAME_LENGTH and name.isprintable()]
    return tuple(names[:MODELS])
