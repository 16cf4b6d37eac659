"""The directory on the store: from a token to its grant, compiled once and kept while nothing it was made from changes.

Garbage is refused by its check digits before any look-up; unknown tokens are remembered for a while, in bounded number,
so that guessing costs the store nothing. Secrets are opened here and live only inside grants.
"""

import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from hashlib import blake2b
from time import time
from typing import NamedTuple, TypeVar

from msgspec import structs
from sqlalchemy import Connection

from ailink_gateway import tokens
from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.backends.upstreams import at, inject, opened, reach, upstream
from ailink_gateway.grant import Breaker, Grant, Key, Service, Upstream
from ailink_gateway.policy.compiled import Policies, Policy, gather
from ailink_gateway.policy.compiler import compile_policy
from ailink_gateway.pricing import PriceRule, in_order
from ailink_gateway.store.grants import (
    CredentialRow,
    PolicyRow,
    ServiceRow,
    TokenRow,
    find_fingerprint,
    load_policies,
    load_project_credentials,
    load_project_policy_ids,
    load_services,
    load_token,
)
from ailink_gateway.store.prices import all_prices
from ailink_gateway.store.rows import Row
from ailink_gateway.store.spend import Spend, load_spend
from ailink_gateway.store.store import Store, read_generation
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault, credential_place
from ailink_provider.builtin import providers, vendor_of
from ailink_provider.errors import Failure
from ailink_provider.prices import own_price
from ailink_provider.providers import Access, Given, Provider
from ailink_provider.transport import Origin, Sender

GRANTS = 100_000
UNKNOWN = 10_000
SIGNERS = 1_000
POLICIES = 10_000  # versions that are kept compiled
K = TypeVar("K")
T = TypeVar("T")


class StoreDirectory:
    """Grants by token.

    Args:
        store, vault: where tokens are, and what opens their credentials.
        sender: what carries calls to upstreams.
        base_urls: where each provider is reached, by name; "" is its own address, as its settings have it.
        settings: what else is known of a provider, by name.
        anonymous_project: whose grant callers without a token get; None refuses them.
        ledger: what is told of every account before a call can spend from it.
    """

    def __init__(
        self,
        store: Store,
        vault: Vault,
        sender: Sender,
        base_urls: Mapping[str, str],
        *,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        anonymous_project: str | None = None,
        ledger: MemoryLedger | None = None,
    ) -> None:
        self._store, self._vault, self._sender, self._base_urls = store, vault, sender, base_urls
        self._settings = settings or {}
        self._key = vault.derive(TOKEN_FINGERPRINTS)
        self._anonymous_project = anonymous_project
        self._ledger = ledger or MemoryLedger(time)
        self._anonymous: Grant | None = None
        self._slot_key = os.urandom(32)
        self._grants: dict[bytes, Grant] = {}
        self._unknown: dict[bytes, str] = {}
        # What signs calls outlives grants, for the sake of the access tokens that it holds.
        self._signers: dict[tuple[str, str], tuple[bytes, Access]] = {}
        self._policies: dict[tuple[str, int], Policy] = {}
        self._generation = 0
        store.on_change(self._forget)

    def _forget(self, generation: int) -> None:
        self._generation = generation
        self._grants.clear()
        self._unknown.clear()
        self._anonymous = None

    def cached(self, secret: str) -> Grant | None:
        """Return the grant of a token if it is known and current."""
        return self._grants.get(self._slot(secret))

    def _slot(self, secret: str) -> bytes:
        # Not the stored fingerprint: this one keeps the interpreter's lock, and its key dies with the process.
        return blake2b(secret.encode(), digest_size=32, key=self._slot_key).digest()

    async def find(self, secret: str) -> Grant:
        """Return the grant of a token. Raises ``Failure`` (``invalid_api_key``) for one that may not call."""
        if tokens.parse(secret) is None:
            raise Failure("invalid_api_key", "Invalid API key: " + _why_malformed(secret))
        slot = self._slot(secret)
        if (refused := self._unknown.get(slot)) is not None:
            raise Failure("invalid_api_key", refused)
        generation = self._generation
        row, around = await self._store.read(_load, tokens.fingerprint(self._key, secret))
        refusal = "unknown here" if row is None else row.refusal(time())
        if row is None or around is None or refusal is not None:
            message = f"Invalid API key: this token is {refusal}."
            if generation == self._generation:
                _keep(self._unknown, slot, message, UNKNOWN)
            raise Failure("invalid_api_key", message)
        grant = self._compile(row, around)
        # A change while it was read may have made it stale: it serves this call and is not kept.
        if generation == self._generation:
            _keep(self._grants, slot, grant, GRANTS)
        return grant

    async def by_id(self, token_id: str | None) -> Grant:
        """Return the grant of a token by its public id, or of callers without one, compiled anew.

        Raises ``Failure`` (``invalid_api_key``) for one that may not call.
        """
        if token_id is None:
            grant = await self.anonymous()
            if grant is None:
                raise Failure("invalid_api_key", "Invalid API key: calls without a token are not accepted any more.")
            return grant
        row, around = await self._store.read(_load_by_id, token_id)
        refusal = "unknown here" if row is None else row.refusal(time())
        if row is None or around is None or refusal is not None:
            raise Failure("invalid_api_key", f"Invalid API key: this token is {refusal}.")
        return self._compile(row, around)

    async def anonymous(self) -> Grant | None:
        """Return the grant of callers without a token."""
        project = self._anonymous_project
        if project is None or self._anonymous is not None:
            return self._anonymous
        generation = self._generation
        around = await self._store.read(_load_around, project, None)
        self._open_accounts(around)
        policies = self._attached(around, ())
        grant = Grant(
            token_id=None,
            token_name="anonymous",
            project_id=project,
            project=self._of_project(around.credentials),
            services=self._services(around),
            prices=_price_rules(around),
            own_rate_limit=policies.own_rate_limit,
            policies=policies,
        )
        if generation == self._generation:
            self._anonymous = grant
        return grant

    def _compile(self, row: TokenRow, around: "_Around") -> Grant:
        upstreams = self._own(row, around.credentials)
        self._open_accounts(around)
        project = self._of_project(around.credentials)
        policies = self._attached(around, row.policy_ids)
        passthrough = bool(upstreams) and all(upstream.key is None and upstream.auth is None for upstream in upstreams)
        if (
            not upstreams
            and row.credential is not None
            and (provider := providers().get(row.credential.provider)) is not None
            and provider.name in self._base_urls
        ):
            project = {**project, provider.name: self._of_provider(provider, row.credential)}
        return Grant(
            token_id=row.id,
            token_name=row.name,
            project_id=row.project_id,
            own=upstreams[0] if upstreams else None,
            further=tuple(upstreams[1:]),
            passthrough=passthrough,
            project=project,
            services={} if passthrough else self._services(around),
            default_model=row.default_model,
            allowed_models=tuple(row.allowed_models),
            raw_paths=row.raw_paths,
            allow_upstream_key=row.allow_upstream_key,
            strict=row.strict_parameters,
            log_level=row.log_level,
            prices=_price_rules(around),
            expires_at=row.expires_at,
            requests_per_minute=row.requests_per_minute,
            tokens_per_minute=row.tokens_per_minute or 0,
            concurrent_requests=row.concurrent_requests or 0,
            breaker=Breaker(**row.circuit_breaker),
            own_rate_limit=policies.own_rate_limit,
            policies=policies,
        )

    def _own(self, row: TokenRow, credentials: list[CredentialRow]) -> list[Upstream]:
        """Return the token's own upstreams by priority. One that names no credential has the token's."""
        if not row.upstreams:
            return [self._upstream(row.upstream_url, row.credential)] if row.upstream_url is not None else []
        by_id = {credential.id: credential for credential in credentials}
        entries = list(row.upstreams)
        if row.upstream_url is not None and all(entry["url"] != row.upstream_url for entry in entries):
            entries.insert(0, {"url": row.upstream_url, "credential_id": None, "weight": 1, "priority": 0})
        found = []
        for entry in sorted(entries, key=lambda entry: int(entry["priority"])):
            named = entry["credential_id"]
            credential = by_id[named] if named is not None else row.credential
            upstream = self._upstream(entry["url"], credential)
            found.append(structs.replace(upstream, priority=entry["priority"], weight=entry["weight"]))
        return found

    def _open_accounts(self, around: "_Around") -> None:
        """Tell the ledger of the accounts that a grant spends from."""
        for scope, spend in around.spend.items():
            self._ledger.open(scope, spend.totals, spend.limits, around.generation, spend.requests_this_hour)

    def _attached(self, around: "_Around", policy_ids: Sequence[str]) -> Policies:
        known = {policy.id: policy for policy in around.policies}
        return gather(
            [self._policy(known, policy_id) for policy_id in around.policy_ids],
            [self._policy(known, policy_id) for policy_id in policy_ids],
        )

    def _policy(self, known: Mapping[str, PolicyRow], policy_id: str) -> Policy:
        row = known.get(policy_id)
        if row is None:  # nobody may call past a policy that cannot be found
            raise Failure("internal_error", f"The policy {policy_id!r} is attached and does not exist.")
        found = self._policies.get((row.id, row.version))
        if found is None:
            try:
                found = compile_policy(row.document(), policy_id=row.id, version=row.version)
            except Failure as failure:
                message = f"The policy {row.name!r} cannot be read by this version: {failure.message}"
                raise Failure("internal_error", message) from None
            _keep(self._policies, (row.id, row.version), found, POLICIES)
        return found

    def _of_project(self, credentials: list[CredentialRow]) -> Mapping[str, Upstream]:
        found: dict[str, Upstream] = {}
        for credential in credentials:  # newest first: of one provider the first serves
            provider = providers().get(credential.provider)
            if provider is not None and provider.name in self._base_urls and provider.name not in found:
                found[provider.name] = self._of_provider(provider, credential)
        return found

    def _services(self, around: "_Around") -> Mapping[str, Service]:
        known = {credential.id: credential for credential in around.credentials}
        services: dict[str, Service] = {}
        for row in around.services:
            credential = known.get(row.credential_id or "")
            if row.credential_id is not None and credential is None:
                continue  # never called without the credential that it was registered with
            upstream = self._upstream(row.base_url, credential)
            services[row.name] = Service(
                upstream=upstream,
                methods=row.methods,
                allowed_paths=row.allowed_paths,
                denied_paths=row.denied_paths,
                serves_models=row.service_type == "llm" or (upstream.provider is not None and not upstream.generic),
            )
        return services

    def _of_provider(self, provider: Provider, credential: CredentialRow) -> Upstream:
        return self._reached(provider, self._base_urls[provider.name], credential)

    def _upstream(self, url: str, credential: CredentialRow | None) -> Upstream:
        origin, _ = Origin.parse(url)
        vendor = vendor_of(origin.host)
        if vendor is not None and credential is not None and credential.provider not in (vendor.name, "generic"):
            message = f"This token's credential is for {credential.provider}, but its upstream is {vendor.name}'s."
            raise Failure("credential_missing", f"{message} Give it a credential of {vendor.name}.")
        provider = vendor or (providers().get(credential.provider) if credential is not None else None)
        if provider is not None:
            return self._reached(provider, url, credential)
        generic = credential is not None and credential.provider == "generic"
        key = self._injected(credential) if credential is not None else None
        return upstream(None, url, self._sender, key, generic=generic)

    def _reached(self, provider: Provider, url: str, credential: CredentialRow | None) -> Upstream:
        """Return the upstream of a provider at ``url``, with the key of ``credential`` if there is one."""
        given = Given("", url, self._settings.get(provider.name, {}), self._sender)
        if credential is None:
            return reach(provider, given)
        if credential.injection is not None:
            found = reach(provider, given)
            return found if found.auth is not None else structs.replace(found, key=self._injected(credential))
        slot = (credential.id, url)
        sealed, access = self._signers.get(slot, (b"", None))
        secret = self._secret(credential)
        if access is None or sealed != credential.sealed:
            access = opened(provider, given._replace(key=secret.decode()))
            if provider.opener is not None:
                _keep(self._signers, slot, (credential.sealed, access), SIGNERS)
        return at(provider, access, self._sender, secret)

    def _secret(self, row: CredentialRow) -> bytes:
        return self._vault.open(row.sealed, credential_place(row.project_id, row.id))

    def _injected(self, row: CredentialRow) -> Key:
        return inject(row.injection or "bearer", self._secret(row), row.header_name, row.query_name)


class _Around(NamedTuple):
    """What of a token's project its grant is made from."""

    credentials: list[CredentialRow]
    services: list[ServiceRow]
    prices: list[Row]
    spend: dict[tuple[str, str], Spend]
    generation: int
    policy_ids: Sequence[str]
    policies: list[PolicyRow]


def _load(connection: Connection, fingerprint: bytes) -> tuple[TokenRow | None, _Around | None]:
    row = load_token(connection, fingerprint)
    return row, _load_around(connection, row.project_id, row.id, row.policy_ids) if row is not None else None


def _load_around(
    connection: Connection, project_id: str, token_id: str | None, policy_ids: Sequence[str] = ()
) -> _Around:
    scopes = [("project", project_id)] if token_id is None else [("token", token_id), ("project", project_id)]
    of_project = load_project_policy_ids(connection, project_id)
    now = time()
    return _Around(
        load_project_credentials(connection, project_id),
        load_services(connection, project_id),
        all_prices(connection),
        {scope: load_spend(connection, *scope, now) for scope in scopes},
        read_generation(connection),
        of_project,
        load_policies(connection, {*of_project, *policy_ids}),
    )


def _price_rules(around: _Around) -> tuple[PriceRule, ...]:
    return in_order(
        PriceRule(row["provider"], row["model"], own_price({kind: Decimal(usd) for kind, usd in row["rates"].items()}))
        for row in around.prices
    )


def _load_by_id(connection: Connection, token_id: str) -> tuple[TokenRow | None, _Around | None]:
    fingerprint = find_fingerprint(connection, token_id)
    return _load(connection, fingerprint) if fingerprint is not None else (None, None)


def _keep(cache: dict[K, T], key: K, value: T, limit: int) -> None:
    if len(cache) >= limit:
        del cache[next(iter(cache))]
    cache[key] = value


def _why_malformed(secret: str) -> str:
    if secret.startswith("ailink_admin_"):
        return "an admin key does not call models; send a token (ailink_v1_...)."
    if secret.startswith("ailink_v1_"):
        return "the token is incomplete or mistyped; its check digits do not fit."
    return "send a token of this gateway (ailink_v1_...), not a provider's own key."
