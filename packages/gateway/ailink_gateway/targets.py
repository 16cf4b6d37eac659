"""From a model's name to the targets that may answer: pure functions over a grant and what every token may reach, and
the ``Resolver`` that remembers their answers.

The rules are those of the contract's "Which target"; the first step that yields targets ends the search.
"""

import random
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import groupby

import msgspec

from ailink_gateway.grant import Grant, Snapshot, Target, Upstream
from ailink_gateway.pricing import own_price_of
from ailink_provider.catalog import facts, rows
from ailink_provider.errors import Failure
from ailink_provider.providers import Provider

RESOLVED = 1000  # names a grant remembers the targets of
SHOWN = 20  # names in a message about a model


class Resolver:
    """Finds the targets of a model for a grant, with what every token may reach (``snapshot``)."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def targets(self, model: str, grant: Grant) -> list[Target]:
        """Return the targets that may answer for ``model``, in order: at least one. Upstreams of equal priority take
        turns as their weights have it.

        Raises ``Failure``: ``model_not_found``, ``credential_missing``, or ``policy_denied`` if the grant may use none
        of them.
        """
        targets = grant.resolved.get(model)
        if targets is None:
            targets = self._resolve(model, grant)
            if len(grant.resolved) < RESOLVED:
                grant.resolved[model] = targets
        return spread(targets) if grant.further else targets

    def within(self, upstream: Upstream, model: str, grant: Grant) -> list[Target]:
        """Return the one target for ``model`` at an upstream that is given. Raises ``Failure`` (``policy_denied``)."""
        known = self._snapshot.providers
        target = _target(upstream, _without_prefix(model, upstream, known), known)
        return self._priced(_allowed([target], model, grant), grant)

    def visible(self, grant: Grant) -> list[tuple[str, str]]:
        """Return the models that a grant can name, with their owners."""
        return list(visible(grant, self._snapshot))

    def default_model(self, grant: Grant) -> str:
        """Return the model of a request that names none. Raises ``Failure`` (``invalid_request``) if there is none."""
        for choice in (grant.default_model, self._snapshot.default_model):
            if choice:
                return choice
        for name in reachable(grant, self._snapshot):
            if default := self._snapshot.providers[name].default_model:
                return default
        raise Failure(
            "invalid_request", "The request names no model, and no default is configured: send `model`.", param="model"
        )

    def _resolve(self, model: str, grant: Grant) -> list[Target]:
        targets = resolve(model, grant, self._snapshot)
        for fallback in self._snapshot.fallbacks.get(model, ()):
            targets += [target for target in resolve(fallback, grant, self._snapshot) if target not in targets]
        if not targets:
            raise self._unknown(model, grant)
        return self._priced(_allowed(targets, model, grant), grant)

    def _priced(self, targets: list[Target], grant: Grant) -> list[Target]:
        """Return the targets with the operator's own prices: the grant's go before the config's."""
        snapshot = self._snapshot
        rules = (*grant.prices, *snapshot.prices)
        priced = []
        for target in targets:
            names = [target.upstream.name]
            if target.prices:  # of a proxy in front of a vendor, the vendor's name will do as well
                names += [name for name, row in snapshot.providers.items() if row.prices == target.prices]
            own = own_price_of(target.model, names, rules) if rules else None
            priced.append(target._replace(own_price=own, fallback=snapshot.unknown_price))
        return priced

    def _unknown(self, model: str, grant: Grant) -> Failure:
        provider = prefixed(model, self._snapshot.providers) or family(model, self._snapshot.providers)
        if provider is not None and not grant.passthrough:
            variable = f" or set {provider.key_source}" if provider.key_source else ""
            return Failure(
                "credential_missing",
                f"There is no key for {provider.name}, which serves {model[:128]!r}: "
                f"store a credential with provider {provider.name!r}{variable}.",
                param="model",
            )
        names = [entry for entry, _ in self.visible(grant)][:SHOWN]
        known = (
            f" Known here: {', '.join(names)}." if names else " This token reaches no provider yet: store a credential."
        )
        return Failure("model_not_found", f"No provider serves the model {model[:128]!r}.{known}", param="model")


def resolve(model: str, grant: Grant, snapshot: Snapshot) -> list[Target]:
    """Return the targets for ``model``, none if nothing that this grant reaches serves it."""
    own = grant.upstreams
    known = snapshot.providers
    bare = _without_prefix(model, grant.own, known)
    if grant.passthrough:
        # One key comes with the call, and it is one vendor's.
        return [_target(upstream, bare, known) for upstream in own if upstream.provider == own[0].provider]
    provider = prefixed(model, known) if bare != model else None
    if provider is not None and (found := _reach(provider.name, grant, snapshot)):
        return [_target(upstream, bare, known) for upstream in found]
    alias = snapshot.aliases.get(model)
    if alias is not None:
        return resolve(alias, grant, msgspec.structs.replace(snapshot, aliases={}))
    vendor = provider or family(model, known)
    if vendor is not None and provider is None:
        if fitting := [upstream for upstream in own if upstream.provider in (None, vendor)]:
            return [_target(upstream, model, known) for upstream in fitting]
        if found := _reach(vendor.name, grant, snapshot):
            return [_target(upstream, model, known) for upstream in found]
    if own:
        return [_target(upstream, model, known) for upstream in own]
    listed = [
        _target(upstream, model, known)
        for name in reachable(grant, snapshot)
        if model in _listed(name, snapshot)
        for upstream in _reach(name, grant, snapshot)
    ]
    if listed:
        return listed
    if vendor is not None and snapshot.simulated is not None:
        return [_target(snapshot.simulated, bare, known, vendor)]
    return []


def spread(targets: list[Target]) -> list[Target]:
    """Return the targets with those of equal priority in an order that is drawn by their weights."""
    order: list[Target] = []
    for (priority, _), equals in groupby(targets, lambda target: (target.upstream.priority, target.model)):
        group = list(equals)
        if priority is not None:
            # The largest of these keys is each one's as often as its weight says (Efraimidis and Spirakis).
            group.sort(key=_drawn, reverse=True)
        order += group
    return order


def _drawn(target: Target) -> float:
    return float(random.random() ** (1 / target.upstream.weight))  # noqa: S311


def visible(grant: Grant, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield the models that can be named, with their owner: aliases first, then what is known of each provider."""
    names: dict[str, str] = dict.fromkeys(snapshot.aliases, "alias") if not grant.passthrough else {}
    shown = (
        snapshot.providers if snapshot.simulated is not None and not grant.passthrough else reachable(grant, snapshot)
    )
    for provider in shown:
        for model in _listed(provider, snapshot):
            names.setdefault(model, provider)
    patterns = grant.allowed_models
    for model, owner in names.items():
        if model in snapshot.aliases:
            seen = any(is_allowed(target, patterns) for target in resolve(model, grant, snapshot)) or not patterns
        else:
            seen = _fits(model, owner, patterns)
        if seen:
            yield model, owner


def family(model: str, providers: Mapping[str, Provider]) -> Provider | None:
    """Return the provider whose names look like this one."""
    return next(
        (provider for provider in providers.values() if provider.families and model.startswith(provider.families)),
        None,
    )


def prefixed(model: str, providers: Mapping[str, Provider]) -> Provider | None:
    """Return the provider that a name says before its first slash."""
    head, slash, rest = model.partition("/")
    return providers.get(head) if slash and rest else None


def _without_prefix(model: str, own: Upstream | None, providers: Mapping[str, Provider]) -> str:
    # An aggregator's own names have slashes, and an unknown host's may: they get the name whole.
    if prefixed(model, providers) is None or (own is not None and (own.provider is None or own.provider.aggregator)):
        return model
    return model.partition("/")[2]


def _reach(name: str, grant: Grant, snapshot: Snapshot) -> list[Upstream]:
    own = [upstream for upstream in grant.upstreams if upstream.provider is not None and upstream.provider.name == name]
    found = grant.project.get(name) or snapshot.environment.get(name)
    return own or ([found] if found is not None else [])


def reachable(grant: Grant, snapshot: Snapshot) -> list[str]:
    """Return the providers that a grant has a key for, its own first."""
    own = list(dict.fromkeys(upstream.provider.name for upstream in grant.upstreams if upstream.provider is not None))
    if grant.passthrough:
        return own
    return list(
        dict.fromkeys(
            (*own, *(name for name in snapshot.providers if name in grant.project or name in snapshot.environment))
        )
    )


def _listed(name: str, snapshot: Snapshot) -> tuple[str, ...]:
    """The models that are known of a provider: by the catalog, by itself, and from the config file its default one."""
    known = tuple(model for row in rows() if row.provider == name for model in row.list)
    known += snapshot.discovered.get(name, ())
    default = snapshot.providers[name].default_model
    return known if default is None or default in known else (*known, default)


def _target(
    upstream: Upstream, model: str, providers: Mapping[str, Provider], vendor: Provider | None = None
) -> Target:
    # A model's price is its vendor's where the upstream itself has no list: a proxy in front of it, or the simulator.
    provider = (
        upstream.provider
        if upstream.provider is not None and upstream.provider.prices
        else vendor or family(model, providers)
    )
    return Target(upstream, model, facts(model), provider.prices if provider is not None else "")


def _allowed(targets: list[Target], model: str, grant: Grant) -> list[Target]:
    allowed = [target for target in targets if is_allowed(target, grant.allowed_models)]
    if not allowed:
        raise Failure(
            "policy_denied",
            f"This token may not use {model[:128]!r}; it may ask: {', '.join(grant.allowed_models[:SHOWN])}.",
            param="model",
            reason="model_not_allowed",
        )
    return allowed


def is_allowed(target: Target, patterns: tuple[str, ...]) -> bool:
    """Whether a resolved target fits one of these globs, by its bare name or as "provider/model"; none allow all."""
    return _fits(target.model, target.upstream.name, patterns)


def _fits(model: str, provider: str, patterns: tuple[str, ...]) -> bool:
    names = (model, f"{provider}/{model}")
    return not patterns or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def checked(model: str) -> str:
    """Return a name, wherever it was sent, if it can be one: it goes into paths, globs and records."""
    if not (0 < len(model) <= 256 and model.isprintable()) or model[0] == " " or model[-1] == " ":
        message = "model must be a name of 1 to 256 printable characters, without spaces around it."
        raise Failure("invalid_request", message, param="model")
    if ".." in model and ".." in model.split("/"):
        raise Failure("invalid_request", "model must be a name, not a path that climbs.", param="model")
    return model
