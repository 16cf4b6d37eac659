"""A strict mock of the vendors' clouds, for the tests of this project and of whoever builds on it.

    async with MockUpstream() as upstream:
        upstream.script(text="It is sunny.", usage=Usage(input_tokens=20, output_tokens=5))
        ...                                     # something calls upstream.url("/v1/chat/completions")
        assert upstream.requests[-1].json["model"] == "gpt-4o"
        upstream.assert_clean()

It speaks OpenAI's two wire formats, Anthropic's, Gemini's, Bedrock's and Ollama's from hand-written bodies, checks what
it receives against the official SDKs' own types and the vendors' rules, and breaks on request. It needs ``openai``,
``anthropic``, ``google-genai`` and ``jsonschema`` installed, but imports them only when it checks a request.
"""

from ailink_provider.testing.script import Answer, Fault
from ailink_provider.testing.server import Received
from ailink_provider.testing.upstream import KEYS, MockUpstream, Violation

__all__ = ["KEYS", "Answer", "Fault", "MockUpstream", "Received", "Violation"]
