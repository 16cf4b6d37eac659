"""How the upstreams of tokens stand: what their circuit breakers have seen. No upstream is asked for this."""

from pydantic import BaseModel, Field

from ailink_gateway.control.context import Given
from ailink_gateway.control.resource import resource
from ailink_gateway.ports import Health
from ailink_gateway.store import tokens as table

TOKENS = 1000

router = resource("health")


class UpstreamHealth(BaseModel):
    """One upstream, as one token sees it."""

    token_id: str = Field(examples=["tok_4fT0aZbY21qK"])
    url: str = Field(examples=["https://api.example.com/v1"])
    is_healthy: bool = Field(description="Whether calls go through. A token that never called is taken to be well.")
    failure_count: int = Field(description="Failures in a row.")
    cooldown_remaining_secs: float = Field(description="Seconds until it is asked again.")


@router.get("/upstreams")
async def get_upstream_health(given: Given) -> list[UpstreamHealth]:
    """Get the upstreams of the newest 1,000 tokens that are in use: their own, and any other that they have called."""
    owned = await given.store.read(table.list_upstreams, TOKENS)
    found = []
    for token_id, urls in owned:
        seen = {health.url: health for health in given.breakers.health(token_id)} if given.breakers else {}
        for url in dict.fromkeys((*urls, *seen)):
            health = seen.get(url) or Health(url, True, 0, 0.0)
            found.append(
                UpstreamHealth(
                    token_id=token_id, url=url, is_healthy=health.is_healthy, failure_count=health.failures,
                    cooldown_remaining_secs=round(health.cooldown, 3),
                )
            )
    return found
