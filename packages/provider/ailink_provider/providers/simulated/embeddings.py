"""Embeddings without a model: each word is hashed to a few places of the vector, so that texts that share words are
near each other, and the same text is always the same vector."""

import math
import re
from hashlib import sha256

from ailink_provider.chat import Embed, Embeddings, Usage
from ailink_provider.errors import Failure
from ailink_provider.estimate import estimate_text

_WORD = re.compile(r"\w+")
_DIMENSIONS = {"text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536
_MOST_DIMENSIONS = 16_384
_PLACES = 4  # of the vector that a word touches


def embed(request: Embed) -> Embeddings:
    """Return a unit vector for every input. Raises ``Failure`` for an impossible number of dimensions."""
    dimensions = request.dimensions
    if dimensions is None:
        dimensions = _DIMENSIONS.get(request.model, _DEFAULT_DIMENSIONS)
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise Failure("invalid_request", f"dimensions must be from 1 to {_MOST_DIMENSIONS}.", param="dimensions")
    vectors = [_vector(_words(given), dimensions) for given in request.inputs]
    tokens = sum(estimate_text(given) if isinstance(given, str) else len(given) for given in request.inputs)
    return Embeddings(request.model, vectors, Usage(input_tokens=tokens))


def _words(given: str | list[int]) -> list[str]:
    return _WORD.findall(given.lower()) if isinstance(given, str) else [str(token) for token in given]


def _vector(words: list[str], dimensions: int) -> list[float]:
    vector = [0.0] * dimensions
    for word in words:
        digest = sha256(word.encode("utf-8", "surrogatepass")).digest()
        for place in range(_PLACES):
            number = int.from_bytes(digest[place * 5:place * 5 + 5], "big")
            vector[(number >> 1) % dimensions] += 1.0 if number & 1 else -1.0
    norm = math.hypot(*vector)
    if not norm:
        # No words, or words that cancel each other out.
        return [1.0] + [0.0] * (dimensions - 1)
    return [value / norm for value in vector]
