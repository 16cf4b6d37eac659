"""The message for Slack's incoming webhooks, and for what understands them. Nothing of a request reads as markup."""

from datetime import UTC, datetime

import msgspec

from ailink_gateway.approval import Approval
from ailink_gateway.visible import shown

_LONGEST = 300  # characters of a path or name


def message(approval: Approval, link: str) -> bytes:
    """Return the body that tells of an approval and links to its page."""
    about = approval.about
    expires = datetime.fromtimestamp(approval.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    fields = {
        "Request": f"{about.method} {about.path}",
        "To": about.upstream or "unknown",
        "Agent": about.agent_name or approval.token_id or "without a token",
        "Policy": ", ".join(approval.policy_names),
        "Expires": expires,
    }
    lines = "\n".join(f"*{name}:* {_plain(value)}" for name, value in fields.items())
    return msgspec.json.encode({
        "text": f"Approval needed: {_plain(about.method)} {_plain(about.path)}",
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*Approval needed*\n{lines}"}},
            {
                "type": "actions",
                "elements": [
                    {
                        "type": "button",
                        "text": {"type": "plain_text", "text": "Look at the request"},
                        "url": link,
                        "style": "primary",
                    }
                ],
            },
        ],
    })


def _plain(text: str) -> str:
    text = shown(text[:_LONGEST]) + ("…" if len(text) > _LONGEST else "")
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, escaped)
    # Marks of Slack's own markup would style, or quote, what they stand around.
    return "".join(f"{character}\u2060" if character in "*_~`" else character for character in text)
