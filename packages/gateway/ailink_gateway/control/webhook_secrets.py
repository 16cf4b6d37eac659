"""The secrets that webhooks are signed with: one a project, derived, so that it is the same whenever it is asked."""

from pydantic import BaseModel, Field

from ailink_gateway.control.context import Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.resource import resource
from ailink_gateway.notify.webhook import secret_of, spelled
from ailink_gateway.store.projects import find_project

router = resource("webhook-secrets")


class WebhookSecret(BaseModel):
    """What a receiver of a project's webhooks needs."""

    id: str = Field(description="The project.", examples=["default"])
    secret: str = Field(description="For any Standard Webhooks library.", examples=["whsec_C2FVsBQIhrscChlQIMV..."])


@router.get("/{id}", responses=refusals(404))
async def get_webhook_secret(id: str, given: Given) -> WebhookSecret:
    """Get the secret of a project's webhooks, by the project's id."""
    project = await given.store.read(find_project, id)
    return WebhookSecret(id=project["id"], secret=spelled(secret_of(given.vault, project["id"])))
