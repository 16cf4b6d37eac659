"""From a policy's document to what the data plane runs. Everything in it is checked here, once, when it is saved.

A flat rule is a rule whose action stands in it: ``{"type": "rate_limit", "window": "1m", "max_requests": 100}`` is
``{"then": {"type": "rate_limit", ...}}``. An action is ``{"type": name, ...}``, with ``action`` for ``type``, or
``{name: {...}}``; ``then`` may be a list of them.
"""

import json
from hashlib import sha256
from typing import Any

from ailink_gateway.grant import Retry
from ailink_gateway.policy.actions import ACTIONS, LATER
from ailink_gateway.policy.compiled import Action, Mode, Phase, Policy, Rule
from ailink_gateway.policy.conditions import Condition, Reader
from ailink_gateway.policy.shapes import Members, entries, refuse, shown
from ailink_provider.errors import Failure

MOST_RULES = 100
MOST_ACTIONS = 10
LARGEST = 512 * 1024  # characters of the rules as JSON
_REPORTED = 20
_NAMES = ("type", "action")
ALWAYS = object()
"""Stands for a condition that is not given: null is none, and refused."""


def compile_policy(
    document: object, *, policy_id: str = "draft", version: int = 1, place: str = ""
) -> Policy:
    """Return the policy of a document ``{name, mode, phase, rules, retry}``.

    Raises ``Failure`` (``validation_error``) whose ``details`` name every rule that is wrong, and the place in it; and
    nothing else, whatever JSON the document is.
    """
    members = Members(document, place)
    name = members.text("name", most=128)
    if not name.isprintable():
        refuse(members.at("name"), "must have no line breaks")
    mode: Mode = members.choice("mode", ("enforce", "shadow"), "enforce")
    phase: Phase = members.choice("phase", ("pre", "post"), "pre")
    retry = _retry(members)
    rules = members.take("rules", [])
    if not isinstance(rules, list) or len(rules) > MOST_RULES:
        refuse(members.at("rules"), f"must be a list of at most {MOST_RULES} rules")
    members.done()
    if not rules and retry is None:
        refuse(members.at("rules"), "must have a rule, unless the policy has a retry")
    reader = Reader(phase)
    compiled = _all(rules, members.at("rules"), phase, reader)
    return Policy(
        id=policy_id,
        name=name,
        version=version,
        mode=mode,
        phase=phase,
        rules=compiled,
        retry=retry,
        reads_reply=reader.reads_reply or any(action.reads_reply for rule in compiled for action in rule.actions),
        limits_token=phase == "pre" and _limits_token(compiled),
    )


def _all(rules: list[Any], place: str, phase: Phase, reader: Reader) -> tuple[Rule, ...]:
    compiled: list[Rule] = []
    wrong: list[Failure] = []
    size = 0
    for index, document in enumerate(rules):
        try:
            text = _canonical(document, f"{place}[{index}]")
            size += len(text)
            if size > LARGEST:
                refuse(place, f"are larger than {LARGEST} characters")
            compiled.append(_rule(document, index, f"{place}[{index}]", text, phase, reader))
        except Failure as failure:
            wrong.append(failure)
    if wrong:
        details = [detail for failure in wrong[:_REPORTED] for detail in failure.details]
        message = " ".join(failure.message for failure in wrong[:_REPORTED])
        raise Failure("validation_error", message, param=wrong[0].param, details=details)
    return tuple(compiled)


def _canonical(document: Any, place: str) -> str:
    try:
        return json.dumps(document, sort_keys=True, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        refuse(place, "is no JSON, or nested too deeply")


def _rule(document: Any, index: int, place: str, text: str, phase: Phase, reader: Reader) -> Rule:
    members = Members(document, place)
    members.flag("mandatory", False)  # what a request may switch off is told by guardrails; no other rule can be
    condition = members.take("when", ALWAYS)
    if any(members.has(name) for name in _NAMES):
        if members.has("then"):
            refuse(members.at("then"), "stands beside an action that stands in the rule itself: give one of the two")
        actions: tuple[Action, ...] = (_action(members, phase),)
    else:
        actions = _actions(members.take("then"), members.at("then"), phase)
        members.done()
    when: Condition | None = None
    if condition is not ALWAYS:
        allows = any(action.name == "allow" for action in actions)
        when = reader.read(condition, members.at("when"), certain=allows)
    return Rule(index, f"rules[{index}] {sha256(text.encode()).hexdigest()[:16]}", when, actions)


def _actions(value: Any, place: str, phase: Phase) -> tuple[Action, ...]:
    if not isinstance(value, list):
        return (_action(Members(value, place), phase),)
    listed = entries(value, place, MOST_ACTIONS)
    return tuple(_action(Members(entry, f"{place}[{index}]"), phase) for index, entry in enumerate(listed))


def _action(members: Members, phase: Phase) -> Action:
    given = [name for name in _NAMES if members.has(name)]
    if len(given) == 2:
        refuse(members.at("action"), "stands beside type: give one of the two")
    if given:
        name, at = members.take(given[0]), members.at(given[0])
    else:
        names = members.names()
        if len(names) != 1:
            refuse(members.place, 'must be one action such as {"type": "deny", ...} or {"deny": {...}}')
        name = names[0]
        at = members.at(name[:40])
        members = Members(members.take(name), at)
    if not isinstance(name, str) or name not in ACTIONS:
        if isinstance(name, str) and name in LATER:
            refuse(at, f"is {name}, which {LATER[name]}")
        refuse(at, f"is no action: {shown(name)}; known: {', '.join(ACTIONS)}")
    kind = ACTIONS[name]
    if phase not in kind.phases:
        refuse(at, f"is {name}, which decides before a call is made: use phase pre")
    action = kind.read(members, phase)
    members.done()
    return action


def _retry(members: Members) -> Retry | None:
    value = members.take("retry", None)
    if value is None:
        return None
    retry = Members(value, members.at("retry"))
    known = Retry()
    compiled = Retry(
        max_retries=retry.integer("max_retries", known.max_retries, least=0, most=10),
        base_delay_ms=retry.integer("base_delay_ms", known.base_delay_ms, least=1, most=60_000),
        max_backoff_ms=retry.integer("max_backoff_ms", known.max_backoff_ms, least=1, most=300_000),
        jitter_ms=retry.integer("jitter_ms", known.jitter_ms, least=0, most=60_000),
        status_codes=_status_codes(retry, known.status_codes),
    )
    retry.done()
    return compiled


def _status_codes(retry: Members, default: frozenset[int]) -> frozenset[int]:
    codes = retry.list("status_codes", None, most=50)
    if codes is None:
        return default
    for index, code in enumerate(codes):
        if not isinstance(code, int) or isinstance(code, bool) or not 400 <= code <= 599:
            refuse(f"{retry.at('status_codes')}[{index}]", f"must be a status from 400 to 599, not {shown(code)}")
    return frozenset(codes)


def _limits_token(rules: tuple[Rule, ...]) -> bool:
    """Whether some rule limits every call of a token, whatever it is: none before it may end the policy."""
    for rule in rules:
        for action in rule.actions:
            if action.name == "allow":
                return False
            if action.name == "rate_limit" and rule.when is None and getattr(action, "key", "") == "token":
                return True
    return False
