"""Links to the page of one approval: signed, and good until they expire. They show a request; they decide nothing."""

import hmac
import re
from base64 import urlsafe_b64encode

from ailink_gateway.vault import APPROVAL_LINKS, Vault

PAGE = "/ailink/approvals/"
_WHOLE = re.compile(r"[1-9][0-9]{0,11}")


class Links:
    """Makes and checks links.

    Args:
        public_url: the gateway's own URL as people reach it, without a final slash.
    """

    def __init__(self, vault: Vault, public_url: str) -> None:
        self._key = vault.derive(APPROVAL_LINKS)
        self._public_url = public_url
        self.secure = public_url.startswith("https://")

    def __repr__(self) -> str:
        return f"Links({self._public_url!r})"

    def to(self, approval_id: str, expires_at: float) -> str:
        """Return the URL of the page of an approval, good until ``expires_at`` (Unix seconds)."""
        expires = int(expires_at)
        signature = self._signature(approval_id, expires)
        return f"{self._public_url}{PAGE}{approval_id}?expires={expires}&signature={signature}"

    def opens(self, approval_id: str, expires: str, signature: str, now: float) -> bool:
        """Whether this is a link of ours to this approval that has not expired."""
        if _WHOLE.fullmatch(expires) is None or int(expires) <= now:
            return False
        expected = self._signature(approval_id, int(expires))
        return hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode())

    def _signature(self, approval_id: str, expires: int) -> str:
        code = hmac.digest(self._key, f"{approval_id}.{expires}".encode(), "sha256")
        return urlsafe_b64encode(code).rstrip(b"=").decode()
