"""What Bedrock's models accept, as the mock enforces it: a table of its own, apart from the gateway's catalog."""

import re
from typing import NamedTuple

from ailink_provider.testing.anthropic.models import Model as Claude
from ailink_provider.testing.anthropic.models import model as model_of_anthropic


class Model(NamedTuple):
    """One family of models. ``claude`` are the rules of a Claude, None for another maker's; ``caches`` whether it takes
    cache points, ``forced_tools`` and ``calls_tools`` what it can be made to do with tools; ``structured`` whether it
    can be held to a schema."""

    claude: Claude | None = None
    caches: bool = False
    calls_tools: bool = True
    forced_tools: bool = True
    structured: bool = True


# The first pattern that is found in an id or ARN speaks for it. Source: the supported models of the user guide.
_MODELS: tuple[tuple[str, Model], ...] = (
    (r"amazon\.nova-", Model(caches=True)),
    (r"amazon\.titan-", Model(calls_tools=False, structured=False)),
    (r"meta\.llama", Model(forced_tools=False)),
    (r"application-inference-profile/", Model(caches=True)),  # whose model only the account's owner knows
    (r"", Model()),
)


def model(name: str) -> Model:
    """Return what the model of this id or ARN accepts."""
    found = re.search(r"anthropic\.(?P<name>claude-.*)", name)
    if found:
        facts = model_of_anthropic(re.sub(r"(-\d{8})?-v\d+(:\d+)*$", "", found["name"]))
        return Model(facts, True, True, facts.forced_tools, facts.structured)
    return next(facts for pattern, facts in _MODELS if re.search(pattern, name))
