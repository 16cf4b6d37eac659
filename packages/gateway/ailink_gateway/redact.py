"""Takes secrets out of a body that is kept: values of fields that are named like one, and strings that look like one.

It works on text, not on trees, because what it is given may be JSON, events, a form or a part of one. It hides secrets,
not personal data. What it hides keeps no trace, not even a length.
"""

import re

HIDDEN = "[redacted]"

# A field whose folded name ends in one of these holds a secret: api_key, X-Api-Key, client_secret, refreshToken ...
_NAME = (
    r"[\w.\-]{0,64}?(?:password|passwd|passphrase|pwd|secret|api[-_]?key|apikey|access[-_]?key|private[-_]?key|"
    r"secret[-_]?key|signing[-_]?key|auth[-_]?key|token|authorization|credentials?|cookie|session[-_]?id|otp|cvv|cvc|"
    r"card[-_]?number|iban|ssn)"
)
_ENDS = r"(?:\\.|[^\"\\])*(?:\"|\Z)"
# In JSON, and in JSON that is the text of a string in JSON, as the arguments of tools are.
_MEMBER = re.compile(rf'("{_NAME}"\s*:\s*")' + _ENDS, re.IGNORECASE)
_INNER = re.compile(rf'(\\"{_NAME}\\"\s*:\s*\\")(?:\\\\\\.|\\\\[^"]|[^"\\])*(?:\\"|(?=")|\Z)', re.IGNORECASE)
_PARAMETER = re.compile(rf"((?:^|[&?;\s]){_NAME}=)[^&\s\"']+", re.IGNORECASE)

_KNOWN = re.compile(
    r"""
      ailink_(?:v1|admin)_[A-Za-z0-9_-]{12,}
    | \b(?:sk|rk|pk)[-_][A-Za-z0-9_-]{16,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    | \bAIza[A-Za-z0-9_-]{30,}
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,} | \bglpat-[A-Za-z0-9_-]{16,}
    | \bxox[a-z]-[A-Za-z0-9-]{10,}
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*
    | (?<=://)[^\s/"'@:]{1,256}:[^\s/"'@]{1,256}(?=@)
    | -----BEGIN[ A-Z]{0,32}PRIVATE\ KEY-----[^-]*(?:-----END[ A-Z]{0,32}PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE,
)
_SCHEME = re.compile(r"\b(Bearer|Basic)( +)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return ``text`` with every secret that is recognised replaced."""
    text = _MEMBER.sub(rf'\g<1>{HIDDEN}"', text)
    text = _INNER.sub(rf'\g<1>{HIDDEN}\\"', text)
    text = _PARAMETER.sub(rf"\g<1>{HIDDEN}", text)
    text = _SCHEME.sub(rf"\g<1>\g<2>{HIDDEN}", text)
    return _KNOWN.sub(HIDDEN, text)
