"""The message for Slack's incoming webhooks, and for what understands them. Nothing of a request reads as markup."""

from datetime import UTC, datetime

import msgspec

from ailink_gateway.approval import Approval
from ailink_gateway.visible import shown

_LONGEST = 300  # characters of a path or name
_LONGEST_SHOWN = 500  # of it once what is hidden is named and marks are escaped: a block takes 3,000 in all
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Marks of Slack's own markup would style, or quote, what they stand around.
_ESCAPED |= {character: f"{character}\u2060" for character in "*_~`"}


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
    parts: list[str] = []
    room = _LONGEST_SHOWN
    for character in shown(text[:_LONGEST]):
        part = _ESCAPED.get(character, character)
        room -= len(part)
        if room < 0:
            break
        parts.append(part)
    cut = room < 0 or len(text) > _LONGEST
    return "".join(parts) + ("…" if cut else "")
