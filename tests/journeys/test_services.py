"""One token, many services: each with its own credential, by name."""

from collections.abc import Callable

from ailink import AIlinkClient
from ailink_provider.testing import KEYS, MockUpstream

from .clients import Secrets
from .conftest import Caller, Gateway


def register(gateway: Gateway, **fields: object) -> str:
    with gateway.admin() as admin:
        answer = admin.post("/api/v1/services", json=fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_one_token_reaches_each_service_with_its_own_credential(
    gateway: Gateway, admin: AIlinkClient, token: str, upstream: MockUpstream, call: Caller, known_secrets: Secrets,
) -> None:
    stripe = admin.credentials.create(
        name="services-stripe", provider="generic", secret=known_secrets.add("sk_live_of_the_services")
    )
    maps = admin.credentials.create(
        name="services-maps", provider="generic", secret=known_secrets.add("maps-key-0123456789"),
        injection="query", query_name="key",
    )
    made = [
        register(gateway, name="stripe", base_url=upstream.url(), credential_id=stripe["id"], methods=["GET", "POST"]),
        register(gateway, name="maps", base_url=upstream.url(), credential_id=maps["id"]),
        register(gateway, name="slack-webhook", base_url=upstream.url(), description="Slack notifications"),
    ]
    charge = call.request("POST", "/v1/proxy/services/stripe/v1/charges", token, json={"amount": 5000})
    place = call.request("GET", "/v1/proxy/services/maps/geocode?q=Bern", token)
    note = call.request("POST", "/v1/proxy/services/slack-webhook/services/T0/B0", token, json={"text": "Done!"})
    assert [answer.status_code for answer in (charge, place, note)] == [200, 200, 200]
    to_stripe, to_maps, to_slack = upstream.requests
    assert (to_stripe.path, to_stripe.headers["authorization"]) == ("/v1/charges", "Bearer sk_live_of_the_services")
    assert to_maps.path.startswith("/geocode")
    assert "authorization" not in to_slack.headers
    assert call.request("DELETE", "/v1/proxy/services/stripe/v1/charges/1", token).status_code == 403
    for service in made:
        with gateway.admin() as client:
            client.delete(f"/api/v1/services/{service}")
    assert call.request("GET", "/v1/proxy/services/stripe/v1/charges", token).status_code == 404


def test_a_service_that_serves_models_is_priced(
    gateway: Gateway, admin: AIlinkClient, token: str, upstream: MockUpstream, call: Caller,
    record_of: Callable[[str], object],
) -> None:
    credential = admin.credentials.create(name="services-openai", provider="openai", secret=KEYS["openai"])
    service = register(gateway, name="gpt", base_url=upstream.url("/v1"), credential_id=credential["id"])
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    answer = call.request("POST", "/v1/proxy/services/gpt/v1/chat/completions", token, json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "echo: Hello"
    row = record_of(answer.headers["x-request-id"])
    assert (row.model, row.cost_usd) == ("gpt-4o", 0.0000975)  # type: ignore[attr-defined]
    assert call.request("POST", "/v1/proxy/services/gpt/v1/images/generations", token, json={}).status_code == 403
    with gateway.admin() as client:
        client.delete(f"/api/v1/services/{service}")
