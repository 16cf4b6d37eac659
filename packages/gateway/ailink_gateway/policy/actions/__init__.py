"""What rules can do: one file for each kind of action, each listed in ``ACTIONS`` by its name in documents.

A new action is a new file with a function that reads it, refusing what is wrong in the document, and its line here.
"""

from collections.abc import Callable
from typing import NamedTuple

from ailink_gateway.policy.actions import consult, decide, limit, note, restrict, rewrite, schema, steer
from ailink_gateway.policy.compiled import Action
from ailink_gateway.policy.shapes import Members

BOTH, BEFORE = ("pre", "post"), ("pre",)


class Kind(NamedTuple):
    """How an action is read from a document, and in which phases it may stand."""

    read: Callable[[Members, str], Action]
    phases: tuple[str, ...]


ACTIONS: dict[str, Kind] = {
    "allow": Kind(decide.read_allow, BOTH),
    "deny": Kind(decide.read_deny, BOTH),
    "require_approval": Kind(decide.read_approval, BEFORE),
    "methods": Kind(restrict.read_methods, BEFORE),
    "paths": Kind(restrict.read_paths, BEFORE),
    "models": Kind(restrict.read_models, BEFORE),
    "rate_limit": Kind(limit.read_rate_limit, BEFORE),
    "throttle": Kind(limit.read_throttle, BOTH),
    "spend_cap": Kind(limit.read_spend_cap, BEFORE),
    "override": Kind(rewrite.read_override, BOTH),
    "transform": Kind(rewrite.read_transform, BOTH),
    "validate_schema": Kind(schema.read_schema, BOTH),
    "split": Kind(steer.read_split, BEFORE),
    "route": Kind(steer.read_route, BEFORE),
    "tag": Kind(note.read_tag, BOTH),
    "log": Kind(note.read_log, BOTH),
    "webhook": Kind(consult.read_webhook, BOTH),
}
LATER = dict.fromkeys(("content_filter", "redact"), "is not available yet: it comes with guardrails")
"""Actions that are known and refused, and why."""
