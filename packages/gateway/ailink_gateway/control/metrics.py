"""Metrics for Prometheus. Shown without a key, to this machine alone unless the operator opens them."""

from ipaddress import ip_address

from fastapi import APIRouter, Request, Response

from ailink_gateway.control.context import Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.resource import operation_id
from ailink_provider.errors import Failure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# What a proxy on this machine leaves: the call comes from elsewhere, although its connection does not.
_PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

router = APIRouter(tags=["health"], generate_unique_id_function=operation_id)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, 403: refusals()[403]})
async def get_metrics(request: Request, given: Given) -> Response:
    """Read what the gateway counted, in Prometheus' text format.

    From this machine alone, unless AILINK_METRICS_OPEN is true.
    """
    metrics = given.metrics
    if metrics is None:
        raise Failure("not_found", "This gateway counts nothing.")
    if not (metrics.open or _is_local(request)):
        raise Failure(
            "policy_denied",
            "Metrics are shown to this machine alone: ask from there, or set AILINK_METRICS_OPEN=true.",
            reason="loopback_only",
        )
    return Response(metrics.text(), media_type=CONTENT_TYPE)


def _is_local(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _PROXIED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
