"""Whether the process lives, and whether it is ready for calls. Public, so it tells nothing that should be kept."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from ailink_gateway.control.context import Check, Given
from ailink_gateway.control.resource import operation_id
from ailink_gateway.store.store import read_generation
from ailink_provider.errors import Failure

CHECK_SECONDS = 2.0

router = APIRouter(tags=["health"], generate_unique_id_function=operation_id)


class Health(BaseModel):
    """The process answers."""

    status: Literal["healthy"] = "healthy"


class Readiness(BaseModel):
    """Whether calls are served well, and what stands in the way."""

    status: Literal["ready", "unavailable"]
    checks: dict[str, Literal["ok", "failed"]] = Field(examples=[{"store": "ok", "spool": "ok"}])


# Load balancers and monitors ask with HEAD, too.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def get_health() -> Health:
    """Tell that the process is alive."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
async def get_readiness(response: Response, given: Given) -> Readiness:
    """Tell whether the gateway is ready for calls."""
    async def store() -> None:
        await given.store.read(read_generation)

    checks: dict[str, Check] = {"store": store, **given.checks}
    passed = await asyncio.gather(*map(_passes, checks.values()))
    if not all(passed):
        response.status_code = 503
    return Readiness(
        status="ready" if all(passed) else "unavailable",
        checks={name: "ok" if well else "failed" for name, well in zip(checks, passed, strict=True)},
    )


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except (Failure, TimeoutError):
        return False
    return True
