"""Webhooks after Standard Webhooks (standardwebhooks.com): a JSON event, and a signature that the receiver checks.

The secret is derived for each project and never leaves in a message.
"""

import hmac
from base64 import b64encode
from datetime import UTC, datetime

import msgspec

from ailink_gateway.approval import Approval
from ailink_gateway.vault import WEBHOOK_SECRETS, Vault

PREFIX = "whsec_"
Headers = list[tuple[bytes, bytes]]


def secret_of(vault: Vault, project_id: str) -> bytes:
    """Return the 32 bytes that the webhooks of a project are signed with."""
    return hmac.digest(vault.derive(WEBHOOK_SECRETS), project_id.encode(), "sha256")


def spelled(secret: bytes) -> str:
    """Return a secret as receivers' libraries take it."""
    return PREFIX + b64encode(secret).decode()


def event(approval: Approval, link: str) -> bytes:
    """Return the body that tells of an approval."""
    about = approval.about
    return msgspec.json.encode({
        "type": "approval.requested",
        "timestamp": datetime.fromtimestamp(approval.created_at, UTC),
        "data": {
            "id": approval.id,
            "project_id": approval.project_id,
            "token_id": approval.token_id,
            "policy_names": approval.policy_names,
            "method": about.method,
            "path": about.path,
            "agent_name": about.agent_name,
            "upstream": about.upstream,
            "expires_at": datetime.fromtimestamp(approval.expires_at, UTC),
            "url": link,
        },
    })


def headers(secret: bytes, message_id: str, moment: float, body: bytes) -> Headers:
    """Return the headers of one attempt to deliver ``body``. The id stays the same at every attempt."""
    timestamp = str(int(moment))
    signed = hmac.digest(secret, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return [
        (b"content-type", b"application/json"),
        (b"webhook-id", message_id.encode()),
        (b"webhook-timestamp", timestamp.encode()),
        (b"webhook-signature", b"v1," + b64encode(signed)),
    ]
