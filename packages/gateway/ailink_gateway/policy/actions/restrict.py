"""Actions that leave only some methods, paths or models open: the others are refused with a reason of their own."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from ailink_gateway.forward import posing_methods
from ailink_gateway.policy.compiled import Foresight, Rule, Verdict
from ailink_gateway.policy.patterns import any_glob
from ailink_gateway.policy.run import not_allowed
from ailink_gateway.policy.shapes import Members, refuse
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.grant import Target
    from ailink_gateway.policy.run import Run

REMEMBERED = 16
"""Verdicts that a rule remembers: most calls are for the same few paths and models. Few, as a path may be long."""


class Methods(Struct, frozen=True):
    """Which methods are open."""

    is_open: Callable[[str], bool]

    name = "methods"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Failure | None:
        """See ``Action``."""
        for method in (run.exchange.method, *posing_methods(run.exchange)):
            if not self.is_open(method):
                return self._refusal(run, method)
        return None

    foresee = apply

    def _refusal(self, run: "Run", method: str) -> Failure:
        message = f"The policy {run.policy.name} does not allow the method {method[:32]}."
        return Failure("policy_denied", message, param="method", reason="method_not_allowed")


class Paths(Struct, frozen=True):
    """Which paths are open. Of a service's call its path at the gateway counts as well as the one that is sent."""

    is_open: Callable[[tuple[str, ...]], bool]

    name = "paths"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Failure | None:
        """See ``Action``."""
        paths = run.facts.paths
        if self.is_open(paths):
            return None
        message = f"The policy {run.policy.name} does not allow the path {paths[0][:128]}."
        return Failure("policy_denied", message, param="path", reason="path_not_allowed")

    foresee = apply


class Models(Struct, frozen=True):
    """Which models may answer, by their bare name or as "provider/model"; calls of APIs ask none.

    It holds for whatever later rules route to, too, and for names in any case: some vendors take them so.
    """

    is_open: Callable[[str, str], bool]

    name = "models"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        if run.exchange.route.kind == "model":
            if "models" in run.exchange.members:
                return _list_refused(run)
            run.restrict(self._fits)
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        if "models" in run.exchange.members:
            return _list_refused(run)
        models, providers = run.facts.target_models, run.facts.target_providers
        named = list(zip(models, providers, strict=False))
        if not named or any(self.is_open(model, provider) for model, provider in named):
            return None
        return not_allowed(run.policy.name, models)

    def _fits(self, target: "Target") -> bool:
        return self.is_open(target.model, target.upstream.name)


def _list_refused(run: "Run") -> Failure:
    # Some aggregators fall back to the models of this list by themselves.
    message = f"The policy {run.policy.name} allows some models only: send `model`, and no list of `models`."
    return Failure("policy_denied", message, param="models", reason="model_not_allowed")


def read_methods(members: Members, phase: str) -> Methods:
    """Read ``methods{allow, deny}``."""
    allow, deny = _lists(members)
    allowed = None if allow is None else frozenset(method.upper() for method in allow)
    denied = frozenset(method.upper() for method in deny or ())
    return Methods(lambda method: method not in denied and (allowed is None or method in allowed))


def read_paths(members: Members, phase: str) -> Paths:
    """Read ``paths{allow, deny}``: globs."""
    allow, deny = _globs(members)

    @lru_cache(REMEMBERED)
    def is_open(paths: tuple[str, ...]) -> bool:
        if deny is not None and any(map(deny, paths)):
            return False
        return allow is None or any(map(allow, paths))

    return Paths(is_open)


def read_models(members: Members, phase: str) -> Models:
    """Read ``models{allow, deny}``: globs."""
    allow, deny = _globs(members, str.lower)

    @lru_cache(REMEMBERED)
    def is_open(model: str, provider: str) -> bool:
        model, provider = model.lower(), provider.lower()
        if deny is not None and (deny(model) or deny(f"{provider}/{model}")):
            return False
        return allow is None or allow(model) or allow(f"{provider}/{model}")

    return Models(is_open)


def _globs(
    members: Members, spell: Callable[[str], str] = str
) -> tuple[Callable[[str], bool] | None, Callable[[str], bool] | None]:
    allow, deny = _lists(members)
    return (
        None if allow is None else any_glob(tuple(map(spell, allow)), members.at("allow")),
        None if deny is None else any_glob(tuple(map(spell, deny)), members.at("deny")),
    )


def _lists(members: Members) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    allow, deny = members.texts("allow", None), members.texts("deny", None)
    if allow is None and deny is None:
        refuse(members.place, "must have allow, deny or both")
    return allow, deny
