"""Gemini's rules: one wrong request for each, and the right ones that look alike."""

from typing import Any

import pytest

from ailink_provider.testing import MockUpstream
from ailink_provider.testing.gemini.replies import sign

FLASH, PRO, LITE, NEW = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash-lite", "gemini-3-pro-preview"
USER = {"role": "user", "parts": [{"text": "Hi"}]}
TOOLS = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object", "properties": {}}}]}]


def call(name: str = "f", signature: str | None = None, **more: Any) -> dict[str, Any]:
    signed = {"thoughtSignature": signature} if signature else {}
    return {"functionCall": {"name": name, "args": {}, **more}, **signed}


def answer(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": {"output": "ok"}, **more}}


def talk(*turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Turns of user and model, in alternation, after a first word of the user."""
    return {"contents": [USER, *({"role": ("model", "user")[index % 2], "parts": parts}
                                 for index, parts in enumerate(turns))]}


def settings(**config: Any) -> dict[str, Any]:
    return {"generationConfig": config}


def declared(**declaration: Any) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [{"name": "f", **declaration}]}]}


# (model, fields over a minimal request, part of the message)
WRONG: list[tuple[str, dict[str, Any], str]] = [
    # schema
    (FLASH, {"bogus": 1}, 'Unknown name "bogus": Cannot find field'),
    (FLASH, {"contents": [{**USER, "name": "x"}]}, 'Unknown name "name" at \'contents[0]\''),
    (FLASH, {"contents": [{"parts": [{"text": "x", "type": "text"}]}]}, 'Unknown name "type" at'),
    (FLASH, settings(maxTokens=5), 'Unknown name "maxTokens" at \'generation_config\''),
    (FLASH, settings(temperature="hot"), "Invalid value at 'generation_config.temperature'"),
    (FLASH, {"safetySettings": [{"category": "HARM_CATEGORY_X", "threshold": "BLOCK_NONE"}]},
     "Invalid value at 'safety_settings[0].category'"),
    (FLASH, declared(parameters={"type": "OBJECT", "$ref": "#/x"}), 'Unknown name "$ref" at'),
    # settings
    (FLASH, settings(temperature=2.5), "must be in the range [0, 2]"),
    (FLASH, settings(topP=1.5), "must be in the range [0, 1]"),
    (FLASH, settings(maxOutputTokens=0), "max_output_tokens"),
    (FLASH, settings(stopSequences=list("abcdef")), "at most 5"),
    (FLASH, settings(responseJsonSchema={"type": "object"}), "only allowed with response_mime_type application/json"),
    (FLASH, settings(responseMimeType="application/json", responseSchema={"type": "OBJECT"}, responseJsonSchema={}),
     "Only one of response_schema and response_json_schema"),
    ("gemini-1.5-pro", settings(responseMimeType="application/json", responseJsonSchema={}),
     "not supported for this model"),
    (FLASH, {**settings(responseMimeType="application/json"), "tools": TOOLS},
     "Function calling with a response mime type"),
    # thinking
    (LITE, settings(thinkingConfig={"includeThoughts": True}), "Thinking is not enabled"),
    (FLASH, settings(thinkingConfig={"thinkingLevel": "LOW"}), "Thinking level is not supported"),
    (NEW, settings(thinkingConfig={"thinkingLevel": "LOW", "thinkingBudget": 500}), "only one of thinking budget"),
    (PRO, settings(thinkingConfig={"thinkingBudget": 0}), "only works in thinking mode"),
    (PRO, settings(thinkingConfig={"thinkingBudget": 99_999}), "choose a value between 128 and 32768"),
    # tools that are offered
    (FLASH, declared(name="1f"), "Invalid function name"),
    (FLASH, declared(name="f" * 129), "Invalid function name"),
    (FLASH, {"tools": TOOLS * 2}, "Duplicate function declaration found: f"),
    (FLASH, declared(parameters={"type": "OBJECT"}, parametersJsonSchema={}), "Only one of parameters"),
    (FLASH, declared(parametersJsonSchema={"type": "array"}), "the type must be OBJECT"),
    (FLASH, declared(parametersJsonSchema=5), "the type must be OBJECT"),
    (FLASH, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
    (FLASH, {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}},
     "should only be set when the mode is ANY"),
    (FLASH, {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}}},
     "'g', which is not declared"),
    # contents
    (FLASH, {"contents": []}, "contents is not specified"),
    (FLASH, {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "Please use a valid role: user, model."),
    (FLASH, {"contents": [{"role": "user", "parts": []}]}, "contents[0].parts: contents.parts must not be empty"),
    (FLASH, {"systemInstruction": {"parts": []}}, "system_instruction.parts: contents.parts must not be empty"),
    (FLASH, {"contents": [{"parts": [{"text": ""}]}]}, "contents[0].parts[0].data: required oneof field"),
    (FLASH, {"contents": [{"parts": [{"thought": True}]}]}, "required oneof field"),
    (FLASH, {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "A"}}]}]}, "base64 data"),
    (FLASH, {"contents": [{"parts": [{"inlineData": {"data": "AAAA"}}]}]}, "needs a mime_type"),
    # functions in the conversation
    (FLASH, talk([call("")], [answer("")]), "function_call.name: Name cannot be empty"),
    (FLASH, talk([call()], [{"functionResponse": {"response": {}}}]), "function_response.name: Name cannot be empty"),
    (FLASH, talk([call()]), "number of function response parts is equal"),
    (FLASH, talk([call(), call("g")], [answer()]), "number of function response parts is equal"),
    (FLASH, talk([{"text": "x"}], [answer()]), "number of function response parts is equal"),
    (FLASH, talk([call()], [answer("g")]), "names the function call that it answers"),
    (FLASH, talk([call(id="1")], [answer(id="2")]), "names the function call that it answers"),
    (FLASH, {"contents": [USER, {"role": "model", "parts": [{"text": "x"}]},
                          *talk([call()], [answer()])["contents"][1:]]}, "comes immediately after a user turn"),
    # signatures
    (NEW, talk([call()], [answer()]), "missing a thought_signature"),
    (NEW, talk([call(signature=sign("g"))], [answer()]), "Corrupted thought signature"),
    (NEW, talk([call(signature=sign("f"))], [answer()], [call()], [answer()]), "missing a thought_signature"),
]

RIGHT: list[tuple[str, dict[str, Any]]] = [
    (FLASH, settings(temperature=2, topK=40, stopSequences=["a"], seed=1, candidateCount=2)),
    (FLASH, {"generation_config": {"max_output_tokens": 5, "thinking_config": {"thinking_budget": 0}}}),
    (FLASH, settings(responseMimeType="application/json", responseJsonSchema={"type": "object", "$defs": {"A": {}}})),
    (NEW, {**settings(responseMimeType="application/json"), "tools": TOOLS}),
    (NEW, settings(thinkingConfig={"thinkingLevel": "MINIMAL", "includeThoughts": True})),
    (PRO, settings(thinkingConfig={"thinkingBudget": -1})),
    (FLASH, declared(parameters={"type": "OBJECT", "properties": {"max_length": {"type": "STRING", "maxLength": 3}}})),
    (FLASH, {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "-_8="}}]}]}),
    (FLASH, talk([{"text": "x"}, call(), call("g")], [answer("g"), answer()])),
    (FLASH, {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}}),
    (NEW, talk([call(signature=sign("f"))], [answer()])),
    (NEW, talk([call(signature="skip_thought_signature_validator"), call("g")], [answer(), answer("g")])),
    (NEW, {"contents": [*talk([call()], [answer()], [{"text": "x"}])["contents"], USER]}),
]


@pytest.mark.parametrize(("model", "fields", "message"), WRONG)
async def test_refuses(upstream: MockUpstream, send: Any, model: str, fields: dict[str, Any], message: str) -> None:
    reply = await send("gemini", {"model": model, "contents": [USER], **fields})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert any(message in violation.message for violation in upstream.violations), error
    assert upstream.violations[0].message == error["message"]


@pytest.mark.parametrize(("model", "fields"), RIGHT)
async def test_takes(upstream: MockUpstream, send: Any, model: str, fields: dict[str, Any]) -> None:
    reply = await send("gemini", {"model": model, "contents": [USER], **fields})
    upstream.assert_clean()
    assert reply.status_code == 200


@pytest.mark.parametrize(("path", "body", "message"), [
    (f"/v1beta/models/{FLASH}:generateContent?beta=true", {"contents": [USER]}, "Cannot bind query parameter"),
    (f"/v1beta/models/{FLASH}:countTokens", {}, "Exactly one of contents"),
    (f"/v1beta/models/{FLASH}:countTokens", {"contents": [USER], "tools": []}, 'Unknown name "tools"'),
    ("/v1beta/models/e:embedContent", {"content": USER, "dimensions": 5}, "Cannot find field"),
    ("/v1beta/models/e:batchEmbedContents", {"requests": [{"model": "models/other", "content": USER}]},
     "does not match"),
    ("/v1beta/models/e:batchEmbedContents", {"requests": [{"content": USER}]}, "model is not specified"),
])
async def test_refuses_other_methods(send: Any, path: str, body: dict[str, Any], message: str) -> None:
    reply = await send("gemini", body, path)
    assert reply.status_code == 400 and message in reply.json()["error"]["message"]


async def test_counts_a_whole_request(upstream: MockUpstream, send: Any) -> None:
    body = {"generateContentRequest": {"model": f"models/{FLASH}", "contents": [USER], "tools": TOOLS}}
    reply = await send("gemini", body, f"/v1beta/models/{FLASH}:countTokens")
    assert reply.json()["totalTokens"] == 11
    upstream.assert_clean()
