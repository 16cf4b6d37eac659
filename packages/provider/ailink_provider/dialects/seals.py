"""Proofs of thoughts that a client keeps, marked with the dialect that can use them if that is not its own.

Knows no dialect; those that carry a proof as one text share it.
"""

_SEAL = "ailink:"


def seal(proof: str, signed_by: str | None, own: str) -> str:
    """Return what a client is given to keep: a proof of its ``own`` dialect as it is, another's marked."""
    return proof if signed_by in (None, own) else f"{_SEAL}{signed_by}:{proof}"


def unseal(kept: str | None, own: str) -> tuple[str | None, str]:
    """Return the proof that a client gave back, None for an empty one, and the dialect that can use it."""
    if kept and kept.startswith(_SEAL):
        signed_by, colon, proof = kept.removeprefix(_SEAL).partition(":")
        if colon and proof:
            return proof, signed_by
    return kept or None, own
