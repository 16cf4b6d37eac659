"""JSON Schema as the service's constrained decoding takes it. Knows nothing of requests.

Source: the structured outputs guide of Amazon Bedrock.
"""

from ailink_provider.dialects.constraints import Limits


def _tell(said: str | None, gone: list[str]) -> str:
    told = "; ".join(gone)
    return f"{said} ({told})" if said else told


LIMITS = Limits(("anyOf", "allOf", "prefixItems"), _tell)
