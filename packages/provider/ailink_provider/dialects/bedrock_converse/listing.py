"""The list of models, as Amazon Bedrock's ``ListFoundationModels`` answers it. Which there are is told from outside."""

from collections.abc import Sequence
from typing import Any


def write_models(entries: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the list of models, each a name and its owner."""
    return {"modelSummaries": [
        {"modelId": name, "modelName": name, "providerName": owner, "responseStreamingSupported": True}
        for name, owner in entries
    ]}
