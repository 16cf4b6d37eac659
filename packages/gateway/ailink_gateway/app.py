"""The composition root: the only place where objects meet. Everything else is handed what it needs.

One ASGI application serves both planes. The control plane owns exactly its own routes; whatever is left is a call.
"""

import asyncio
import gc
import logging
import random
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from pathlib import Path
from time import time
from typing import Any

from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from ailink_gateway import dev, record, routes, tokens
from ailink_gateway.backends.approvals import StoreApprovals
from ailink_gateway.backends.bodies import BodyKeeper
from ailink_gateway.backends.breakers import MemoryBreakers
from ailink_gateway.backends.claims import StoreClaims
from ailink_gateway.backends.directory import StoreDirectory
from ailink_gateway.backends.discovery import Discovery
from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.backends.limiter import MemoryLimiter
from ailink_gateway.backends.settlement import SettlingJournal
from ailink_gateway.backends.spool import Spool
from ailink_gateway.backends.thoughts import MemoryThoughts
from ailink_gateway.backends.upstreams import reach
from ailink_gateway.chain import TAIL, Chain, ChainKey, NodeFile
from ailink_gateway.configured import open_configured
from ailink_gateway.control import Broadcaster, create_control, misdirected, owned, unlock
from ailink_gateway.control.context import Exposition
from ailink_gateway.control.errors import answer
from ailink_gateway.control.retention import DAY, Retention
from ailink_gateway.control.tokens import TokenInput, new_token
from ailink_gateway.exchange import Exchange, Receive, Send
from ailink_gateway.grant import Snapshot, Upstream
from ailink_gateway.links import PAGE, Links
from ailink_gateway.notify.courier import Courier
from ailink_gateway.observe import Metrics
from ailink_gateway.pipeline import compose
from ailink_gateway.pricing import PriceRule, in_order
from ailink_gateway.proxies import canonical, client_ip
from ailink_gateway.settings import Settings
from ailink_gateway.stages.admit import Admit
from ailink_gateway.stages.attempt import Attempt
from ailink_gateway.stages.authenticate import Authenticate
from ailink_gateway.stages.choose import Choose
from ailink_gateway.stages.dispatch import Dispatch
from ailink_gateway.stages.govern import Govern
from ailink_gateway.stages.hold import Hold
from ailink_gateway.stages.record import Record
from ailink_gateway.stages.replay import Replay
from ailink_gateway.stages.reserve import Reserve
from ailink_gateway.store.chains import insert_chained, keep_checkpoint, last_boot
from ailink_gateway.store.grants import load_token
from ailink_gateway.store.projects import DEFAULT
from ailink_gateway.store.records import known_ids
from ailink_gateway.store.store import Store
from ailink_gateway.store.tokens import insert_token
from ailink_gateway.targets import Resolver
from ailink_gateway.vault import AUDIT_CHAIN, TOKEN_FINGERPRINTS, Vault
from ailink_provider import prices
from ailink_provider.builtin import dialects, providers
from ailink_provider.errors import Failure
from ailink_provider.prices import own_price
from ailink_provider.providers import Given, Provider
from ailink_provider.providers.simulated import Simulator
from ailink_provider.transport import Guard, Origin, Sender, Transport

logger = logging.getLogger("ailink")

DATABASE = "ailink.db"
SPOOL = "spool"
# Calls leave no cycles behind, so the collector may come rarely; its default is a look at the young every 700 objects.
GARBAGE_THRESHOLDS = (50_000, 20, 20)
SIMULATED = Provider(name="simulated", base_url="http://simulated/v1", needs_key=False)
"""What answers in development for a provider without a key. Its host is never resolved: the simulator is in this
process.
"""


class Gateway:
    """The whole gateway of one process, as an ASGI application. Its lifespan opens and closes everything."""

    _proxies: frozenset[str] = frozenset()

    def __init__(self, settings: Settings, store: Store, vault: Vault, spool: Spool) -> None:
        self.settings, self.store, self.vault, self.spool = settings, store, vault, spool
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open everything else. Raises ``Failure`` for a provider of the config file that cannot be made."""
        settings = self.settings
        self.broadcaster = Broadcaster()
        self._chain_key = ChainKey(self.vault.derive(AUDIT_CHAIN))
        # What earlier calls cost must stand in the database before anybody asks it what was spent.
        await self.spool.recover(self._insert, self._known, time)
        ledger = MemoryLedger(time)
        journal = SettlingJournal(self.spool, ledger)
        guard = Guard(settings.allow_upstreams)
        self.transport = Transport(guard=guard)
        self._proxies = frozenset(filter(None, map(canonical, settings.trusted_proxies)))
        breakers = MemoryBreakers()
        anonymous = DEFAULT if settings.mode == "dev" else None
        directory = StoreDirectory(
            self.store,
            self.vault,
            self.transport,
            base_urls(settings),
            settings={name: setting.settings for name, setting in settings.providers.items()},
            anonymous_project=anonymous,
            ledger=ledger,
        )
        self.metrics = Metrics()
        self.bodies = BodyKeeper(self.store, self.vault, settings.body_days * DAY)
        self.retention = Retention(self.store, self._chain_key, settings.audit_days, time)
        configured = await open_configured(settings.configured, self.transport)
        shared = snapshot(settings, self.transport, configured)
        chosen = {name for name, setting in settings.providers.items() if setting.base_url}
        warn_of_refused(shared.environment, chosen | configured.keys(), guard)
        self._discovery = Discovery(shared)
        limiter, resolver = MemoryLimiter(), Resolver(shared)
        public_url = settings.public_url or f"http://{settings.host}:{settings.port}"
        self.courier = Courier(self.store, self.vault, self.transport, Links(self.vault, public_url))
        self.approvals = StoreApprovals(self.store, self.vault, self.courier)
        self._show(breakers, limiter, ledger)
        self._pipeline = compose(
            (
                Record(journal, self.metrics, self.bodies),
                Authenticate(directory),
                Admit(limiter),
                Replay(StoreClaims(self.store, self.vault)),
                Choose(resolver),
                Govern(limiter, resolver, self.transport, ledger=ledger, approvals=True),
                Hold(self.approvals, settings.public_url),
                Reserve(ledger),
                Attempt(breakers, settings.config.call_timeout_seconds),
                Dispatch(journal, MemoryThoughts()),
            )
        )
        self.control: FastAPI = create_control(
            store=self.store,
            vault=self.vault,
            admin_key=settings.admin_key,
            approvals_desk=self.approvals,
            public_url=public_url,
            broadcaster=self.broadcaster,
            known_providers=tuple(shared.providers),
            node=self.spool.chain.node,
            exposition=Exposition(self.metrics.text, settings.metrics_open),
            breakers=breakers,
            ledger=ledger,
            guard=guard,
            checks={"spool": self.spool.ready},
            caught_up=self.spool.caught_up,
        )
        self._is_control = owned(self.control)
        self._running = [
            asyncio.create_task(self.spool.run(self._insert, self._known, time)),
            asyncio.create_task(self.bodies.run()),
            asyncio.create_task(self.retention.run()),
            asyncio.create_task(asyncio.to_thread(warm)),
        ]
        self._discovery.start()
        await self.approvals.start(self._pipeline)
        # What lives as long as the process need not be looked at again by the garbage collector.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)

    def closing(self) -> None:
        """End what would keep the server from stopping: streams without an end of their own."""
        self.broadcaster.close()
        self.approvals.closing()

    async def stop(self) -> None:
        """Ship what is recorded and close everything."""
        await self.approvals.stop()
        await self.courier.close()
        await self._discovery.stop()
        self.spool.stop()
        self.bodies.stop()
        self.retention.stop()
        await asyncio.gather(*self._running)
        self.spool.release()
        await self.transport.close()
        self.store.close()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        method, path = scope["method"], scope["path"]
        if self.settings.mode == "dev":
            refused = dev.refusal(scope, own_page=path.startswith(PAGE) and self._is_control(method, path))
            if refused is not None:
                await answer(refused, f"req_{random.getrandbits(96):024x}")(scope, receive, send)
                return
        if self._is_control(method, path) or misdirected(path, scope["headers"]):
            await self.control(scope, receive, send)
            return
        route = routes.match(method, path, scope["query_string"], scope["headers"])
        exchange = Exchange.of(scope, receive, send, route)
        if exchange.client_ip in self._proxies:
            exchange.client_ip = client_ip(exchange.client_ip, exchange.raw_headers, self._proxies)
        try:
            await self._pipeline(exchange)
        except asyncio.CancelledError:
            if not exchange.cancelled_by_client:
                raise

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _insert(self, records: Sequence[record.Record]) -> None:
        try:
            await self.store.write(insert_chained, records, self._chain_key.sign)
        except SQLAlchemyError as error:  # the spool keeps the rows and asks again
            raise Failure("internal_error", f"the store refused records: {type(error).__name__}") from error
        self.broadcaster.publish(records)

    async def _known(self, ids: Sequence[str]) -> frozenset[str]:
        return await self.store.read(known_ids, ids)

    def _show(self, breakers: MemoryBreakers, limiter: MemoryLimiter, ledger: MemoryLedger) -> None:
        """Have the metrics show what the objects of this process know of themselves."""
        show = self.metrics.show
        spool, bodies, approvals = self.spool, self.bodies, self.approvals
        show("ailink_circuit_breakers", "Circuits between tokens and upstreams, by state.", "gauge",
             lambda: {(("state", state.value),): count for state, count in breakers.states().items()})  # fmt: skip
        show("ailink_limiter_counts", "Keys whose calls are counted against a limit.", "gauge",
             lambda: {(): len(limiter)})  # fmt: skip
        show("ailink_budget_waiting_calls", "Calls that wait for others to settle.", "gauge",
             lambda: {(): ledger.waiting})  # fmt: skip
        show("ailink_approvals_pending", "Requests that wait for someone to decide.", "gauge",
             lambda: {(): approvals.pending})  # fmt: skip
        show("ailink_spool_backlog_bytes", "Records that are not in the database yet.", "gauge",
             lambda: {(): spool.backlog_bytes})  # fmt: skip
        show("ailink_spool_open_calls", "Calls that are under way upstream.", "gauge", lambda: {(): spool.open_calls})
        show("ailink_audit_rows_total", "Rows that this process added to the audit chain.", "counter",
             lambda: {(): spool.chain.sequence})  # fmt: skip
        show("ailink_bodies_dropped_total", "Bodies that were not kept, as the database did not keep up.", "counter",
             lambda: {(): bodies.dropped})  # fmt: skip


def warm() -> None:
    """Load what starting can do without and the first call cannot (about 0.3 s)."""
    dialects()
    prices.warm()


def prepare(settings: Settings) -> tuple[Store, Vault, Spool]:
    """Take the data directory, bring its database up to date and open the vault. Blocks.

    Raises ``SpoolBusy`` when another process has the directory, ``Failure`` for a newer database or another master key.
    """
    assert settings.master_key is not None  # settings are checked
    spool = Spool(settings.data_dir / SPOOL)
    store = Store(settings.data_dir / DATABASE)
    try:
        store.upgrade()
        vault = Vault(bytes.fromhex(settings.master_key))
        unlock(store, vault)
        spool.chain = begin_chain(settings.data_dir, store, vault)
    except Failure:
        store.close()
        spool.release()
        raise
    return store, vault, spool


def begin_chain(data_dir: Path, store: Store, vault: Vault) -> Chain:
    """Return the audit chain of this boot, whose beginning is in the database and in the data directory. Blocks."""
    file, key = NodeFile(data_dir), ChainKey(vault.derive(AUDIT_CHAIN))
    known = store.call(last_boot, file.last.name) if file.last is not None else 0
    chain = Chain(key, file.following(known))
    # In this order: a boot that the file has and the database has not is one whose rows were taken away.
    store.call(keep_checkpoint, key.sign(chain.name, TAIL, 0, chain.code))
    file.keep(chain.node)
    return chain


def development_token(store: Store, vault: Vault, kept: str | None) -> str:
    """Return the token that `ailink dev` prints: the one it kept if that still works, else a new one. Blocks."""
    key = vault.derive(TOKEN_FINGERPRINTS)
    if kept is not None:
        known = store.call(load_token, tokens.fingerprint(key, kept))
        if known is not None and known.refusal(time()) is None:
            return kept
    row, secret = new_token(TokenInput(name=f"dev-{random.getrandbits(32):08x}"), vault, time())
    store.call(insert_token, row)
    return secret


def base_urls(settings: Settings) -> dict[str, str]:
    """Return where each provider that can be reached is reached: the environment's URL, else the vendor's own, which is
    "" where it depends on settings.
    """
    urls: dict[str, str] = {}
    for name, setting in settings.providers.items():
        row = providers()[name]
        if url := setting.base_url or row.base_url:
            urls[name] = url if setting.base_url or row.opener is None else ""
    return urls


def warn_of_refused(upstreams: Mapping[str, Upstream], chosen: Collection[str], guard: Guard) -> None:
    """Log which of the upstreams whose address the operator has chosen may not be called as things stand."""
    for name in sorted(upstreams.keys() & chosen):
        try:
            guard.foresee(upstreams[name].origin)
        except Failure as failure:
            logger.warning("calls to the provider %s will be refused: %s", name, failure.message)


def snapshot(settings: Settings, sender: Sender, configured: Mapping[str, Upstream]) -> Snapshot:
    """Return what every token may reach beside its own: providers with a key in the environment, and in ``dev`` the
    simulator.
    """
    environment: dict[str, Upstream] = {}
    for name, url in base_urls(settings).items():
        provider, setting = providers()[name], settings.providers[name]
        if not setting.key and provider.needs_key:
            continue
        environment[name] = reach(provider, Given(setting.key or "", url, setting.settings, sender))
    simulated = None
    if settings.mode == "dev":
        simulated = Upstream(
            provider=SIMULATED,
            dialect=dialects()[SIMULATED.dialect],
            origin=Origin.parse(SIMULATED.base_url)[0],
            base="/v1",
            models="/v1",
            label="simulated",
            sender=Simulator(),
        )
    own = {name: upstream.provider for name, upstream in configured.items() if upstream.provider is not None}
    return Snapshot(
        providers={**providers(), **own},
        environment={**environment, **configured},
        simulated=simulated,
        aliases=settings.config.aliases,
        fallbacks=settings.config.fallbacks,
        default_model=settings.config.default_model,
        prices=in_order(PriceRule(rule.provider, rule.model, own_price(rule.usd())) for rule in settings.config.prices),
        unknown_price=own_price(unknown.usd()) if (unknown := settings.config.unknown_price) is not None else None,
    )
