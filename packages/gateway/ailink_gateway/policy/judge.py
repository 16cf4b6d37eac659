"""Running policies over a call: enforcing them, and watching what those in shadow mode would have done.

Project policies come before the token's, in their order, and rules in theirs. A refusal ends everything, ``allow`` its
policy, and what one rule rewrites the next ones see. Nothing that matches allows.
"""

from collections.abc import Sequence

from ailink_gateway.policy.compiled import ALLOW, Foresight, Policy, Rule
from ailink_gateway.policy.facts import Undecidable
from ailink_gateway.policy.run import Run
from ailink_provider.errors import Failure

MOST_VIOLATIONS = 50


async def enforce(policies: Sequence[Policy], run: Run) -> None:
    """Apply policies to a call. Raises the ``Failure`` of the one that refuses it, with its ``policy_name``."""
    facts = run.facts
    for policy in policies:
        run.policy = policy
        try:
            for rule in policy.rules:
                if rule.when is not None and not rule.when(facts):
                    continue
                for action in rule.actions:
                    verdict = action.apply(run, rule)
                    if verdict is None:
                        continue
                    if verdict is ALLOW:
                        break
                    failure = verdict if isinstance(verdict, Failure) else await verdict  # type: ignore[misc]
                    if failure is not None:
                        raise failure
                else:
                    continue
                break  # allow ends its policy
        except Failure as failure:
            failure.policy_name = failure.policy_name or policy.name
            raise


def observe(policies: Sequence[Policy], run: Run) -> list[str]:
    """Return what policies would have done to a call as it stands, without doing it."""
    found: list[str] = []
    for policy in policies:
        run.policy = policy
        for rule in policy.rules:
            try:
                if rule.when is not None and not rule.when(run.facts):
                    continue
                foreseen = [action.foresee(run, rule) for action in rule.actions]
            except Undecidable as unknown:
                foreseen = [f"not decided: {unknown.args[0]} is not known"]
            except Failure as failure:
                foreseen = [f"not decided: {failure.message}"]
            found.extend(violation(policy, rule, effect) for effect in foreseen if effect not in (None, ALLOW))
            if any(effect is ALLOW or isinstance(effect, Failure) for effect in foreseen):
                break
    return found[:MOST_VIOLATIONS]


def violation(policy: Policy, rule: Rule, effect: Foresight) -> str:
    """Return how a record says what a rule would have done."""
    if isinstance(effect, Failure):
        effect = f"deny ({effect.reason or effect.code})"
    return f"{policy.name}: rules[{rule.index}]: {effect}"[:256]


