"""Writes what botocore says into the golden files of these tests. Not a test: run it by hand, where botocore is.

    PYTHONPATH=packages/provider python tests/provider/golden/freeze.py

with a Python that has botocore and msgspec. It makes:

- ``sigv4.json``: requests and the headers that botocore's signer adds to them;
- in ``../dialects/bedrock_converse/golden``: ``*.schema.json``, the shapes of Converse's answers as JSON Schemas,
  closed against unknown members (`ParamValidator` checks less: neither enumerations nor patterns); that of its requests
  is the mock upstream's own, ``ailink_provider/testing/bedrock``;
- ``frames.json``, frames whole and spoilt, and what botocore's parser makes of them;
- ``written.json``, streams, replies and errors that the dialect writes, and what botocore's client reads in them.

The requests of ``*_request.json`` there are put before `ParamValidator`.
"""

import datetime
import json
import struct
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zlib import crc32

import botocore.auth
import botocore.eventstream
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import Shape
from botocore.parsers import create_parser
from botocore.validate import ParamValidator

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    MessageError,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    unfold,
)
from ailink_provider.dialects.bedrock_converse import DIALECT
from ailink_provider.dialects.bedrock_converse.eventstream import encode
from ailink_provider.errors import Failure

HERE = Path(__file__).parent
DIALECT_GOLDEN = HERE.parent / "dialects/bedrock_converse/golden"
MOCK = HERE.parents[2] / "packages/provider/ailink_provider/testing/bedrock"
SERVICE = botocore.session.get_session().get_service_model("bedrock-runtime")
CONVERSE = SERVICE.operation_model("Converse")
STREAM = SERVICE.operation_model("ConverseStream")
# Free-form in the API's eyes, or of no interest here.
OPAQUE = ("trace",)


def save(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# --- shapes ----------------------------------------------------------------------------------------------------------


def schema_of(shape: Shape, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    root = reference(shape, definitions, left_out)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root,
            "$defs": dict(sorted(definitions.items()))}


def reference(shape: Shape, definitions: dict[str, Any], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    if shape.name not in definitions:
        definitions[shape.name] = {}
        definitions[shape.name] = described(shape, definitions, left_out)
    return {"$ref": f"#/$defs/{shape.name}"}


def described(shape: Shape, definitions: dict[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    facts = shape.metadata
    match shape.type_name:
        case "structure" if getattr(shape, "is_document_type", False):
            return {}
        case "structure":
            members = {name: {} if name in OPAQUE else reference(member, definitions)
                       for name, member in shape.members.items() if name not in left_out}
            required = [name for name in shape.required_members if name in members]
            counted = {"minProperties": 1, "maxProperties": 1} if getattr(shape, "is_tagged_union", False) else {}
            return {"type": "object", "properties": members, "additionalProperties": False,
                    **({"required": required} if required else {}), **counted}
        case "list":
            return {"type": "array", "items": reference(shape.member, definitions),
                    **limits(facts, "minItems", "maxItems")}
        case "map":
            return {"type": "object", "propertyNames": reference(shape.key, definitions),
                    "additionalProperties": reference(shape.value, definitions),
                    **limits(facts, "minProperties", "maxProperties")}
        case "string":
            pattern = {"pattern": f"^(?:{facts['pattern']})$"} if "pattern" in facts else {}
            words = {"enum": facts["enum"]} if "enum" in facts else {}
            return {"type": "string", **limits(facts, "minLength", "maxLength"), **pattern, **words}
        case "blob":
            return {"type": "string", "pattern": "^[A-Za-z0-9+/]*={0,2}$", **limits(facts, "minLength", "")}
        case "boolean":
            return {"type": "boolean"}
        case "integer" | "long":
            return {"type": "integer", **limits(facts, "minimum", "maximum")}
        case "float" | "double":
            return {"type": "number", **limits(facts, "minimum", "maximum")}
    raise NotImplementedError(shape.type_name)


def limits(facts: dict[str, Any], least: str, most: str) -> dict[str, Any]:
    found = {least: facts.get("min"), most: facts.get("max")}
    return {word: value for word, value in found.items() if word and value is not None}


def freeze_shapes() -> None:
    save(MOCK / "converse.schema.json", schema_of(CONVERSE.input_shape, ("modelId",)))
    save(DIALECT_GOLDEN / "reply.schema.json", schema_of(CONVERSE.output_shape))
    events = STREAM.output_shape.members["stream"].members
    save(DIALECT_GOLDEN / "events.schema.json", schema_of(STREAM.output_shape.members["stream"]) | {
        "$comment": f"one member an event: {', '.join(events)}"})
    for path in sorted(DIALECT_GOLDEN.glob("*_request.json")):
        body = json.loads(path.read_text("utf-8"))
        report = ParamValidator().validate({"modelId": "m", **body.get("body", body)}, CONVERSE.input_shape)
        assert not report.has_errors(), f"{path}: {report.generate_report()}"


# --- frames ----------------------------------------------------------------------------------------------------------


def typed_frame() -> bytes:
    """A frame with a header of every type that there is."""
    values = [(0, b""), (1, b""), (2, struct.pack(">b", -7)), (3, struct.pack(">h", -300)),
              (4, struct.pack(">i", 70000)), (5, struct.pack(">q", -(2**40))),
              (6, struct.pack(">H", 3) + b"\x00\xff\x7f"), (7, struct.pack(">H", 5) + "héé".encode()),
              (8, struct.pack(">q", 1_700_000_000_123)), (9, bytes(range(16)))]
    head = b"".join(bytes([5]) + f"type{kind}".encode() + bytes([kind]) + value for kind, value in values)
    return assembled(head, b"payload")


def assembled(head: bytes, payload: bytes) -> bytes:
    lengths = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    frame = lengths + struct.pack(">I", crc32(lengths)) + head + payload
    return frame + struct.pack(">I", crc32(frame))


def freeze_frames() -> None:
    event = encode({":message-type": "event", ":event-type": "metadata"}, b'{"usage":{}}')
    whole = {"empty": encode({}, b""), "an event": event, "every type of header": typed_frame(),
             "words": encode({"naïve": "☔"}, "päyload".encode())}
    spoilt = {"prelude": event[:3] + b"\x01" + event[4:], "checksum of the prelude": event[:9] + b"\x00" + event[10:],
              "payload": event[:-6] + b"!" + event[-5:], "checksum": event[:-1] + bytes([event[-1] ^ 1]),
              "too long": longer(), "no event stream": b"HTTP/1.1 502 Bad Gateway\r\n\r\n"}
    save(DIALECT_GOLDEN / "frames.json", {
        "whole": {name: {"hex": frame.hex(), "read": read_frame(frame)} for name, frame in whole.items()},
        "spoilt": {name: {"hex": frame.hex(), "refused": refusal(frame)} for name, frame in spoilt.items()},
    })


def longer() -> bytes:
    lengths = struct.pack(">II", 16 + 25 * 1024 * 1024, 0)
    return lengths + struct.pack(">I", crc32(lengths)) + b"\x00" * 8


def read_frame(frame: bytes) -> dict[str, Any]:
    buffer = botocore.eventstream.EventStreamBuffer()
    buffer.add_data(frame)
    (message,) = list(buffer)
    headers = {name: value.hex() if isinstance(value, bytes) else value for name, value in message.headers.items()}
    return {"headers": headers, "payload": message.payload.hex()}


def refusal(frame: bytes) -> str:
    try:
        read_frame(frame)
    except botocore.eventstream.ParserError as error:
        return type(error).__name__
    raise AssertionError("botocore reads it")


# --- what the dialect writes -----------------------------------------------------------------------------------------

PROOF, HIDDEN = "c2lnbmF0dXJl", "aGlkZGVu"
REPLY = Reply(
    choices=[Choice([
        Thinking("Paris first.", signature=PROOF, signed_by="bedrock_converse"),
        Thinking(redacted=HIDDEN, signed_by="bedrock_converse"),
        Text("It may rain in Pariš ☔.", annotations=[
            {"title": "Sky", "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}}]),
        ToolCall("call_1", "weather", '{"city":"Paris"}'), ToolCall("call_2", "clock", ""),
    ], Finish("tool_calls"))],
    usage=Usage(120, 45, cache_read_tokens=80, cache_write_tokens=20, cache_write_1h_tokens=5), service_tier="priority")
BROKEN = [
    Failure("rate_limit_exceeded", "Slow down."), Failure("invalid_request", "No."),
    Failure("upstream_overloaded", "Full."), Failure("upstream_failed", "It broke."),
    Failure("internal_error", "We broke.")]


def freeze_written() -> None:
    converse: Any = DIALECT.operations["chat"]
    request = Chat("m", [])
    streams = {"reply": list(unfold(REPLY))} | {
        failure.code: [next(unfold(REPLY)), MessageError(failure)] for failure in BROKEN}
    body = converse.write_reply(REPLY, request)
    headers = {"x-amzn-requestid": "r"}
    parser = create_parser("rest-json")
    parsed = parser.parse({"status_code": 200, "headers": headers, "body": json.dumps(body).encode()},
                          CONVERSE.output_shape)
    errors = {}
    for failure in (*BROKEN, Failure("budget_exceeded", "Spent."), Failure("model_not_found", "Which?")):
        status, error = DIALECT.write_error(failure, "req_1")
        read = parser.parse({"status_code": status, "headers": {}, "body": json.dumps(error).encode()}, None)
        errors[failure.code] = {"status": status, "body": error, "read": plain(read["Error"])}
    save(DIALECT_GOLDEN / "written.json", {
        "reply": {"body": body, "read": plain({key: parsed[key] for key in parsed if key != "ResponseMetadata"})},
        "errors": errors,
        "streams": {name: read_stream(converse.writer(request), events) for name, events in streams.items()},
    })


def read_stream(writer: Any, events: list[Event]) -> dict[str, Any]:
    stream = b"".join(writer.write(event) for event in events)

    class Body:
        def stream(self) -> Any:
            return iter([stream[start : start + 7] for start in range(0, len(stream), 7)])

        def close(self) -> None:
            pass

    shape = STREAM.output_shape.members["stream"]
    parser = create_parser("rest-json")._event_stream_parser
    read: list[Any] = []
    try:
        read += [plain(event) for event in botocore.eventstream.EventStream(Body(), shape, parser, "ConverseStream")]
    except botocore.exceptions.EventStreamError as error:
        read.append({"error": error.response["Error"]})
    return {"hex": stream.hex(), "read": read}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return f"bytes:{value.hex()}" if isinstance(value, bytes) else value


# --- signatures ------------------------------------------------------------------------------------------------------

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
RUNTIME = "https://bedrock-runtime.us-east-1.amazonaws.com"
ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-3-5-sonnet-v2%3A0"
REQUESTS: dict[str, dict[str, Any]] = {
    "a model's id with a colon": {"url": f"{RUNTIME}/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"},
    "a model's ARN": {"url": f"{RUNTIME}/model/{ARN}/converse-stream"},
    "a temporary key": {"url": f"{RUNTIME}/model/m/converse", "session_token": "AQoDYXdzEPT//////////wEXAMPLE+tc="},
    "a body beyond ASCII": {"url": f"{RUNTIME}/model/m/converse", "body": '{"messages":[{"text":"☔"}]}'},
    "no body, no content type": {"method": "GET", "url": "https://bedrock.eu-west-1.amazonaws.com/foundation-models",
                                 "region": "eu-west-1", "body": "", "headers": {}},
    "a query out of order": {"method": "GET", "body": "", "headers": {}, "url":
                             "https://bedrock.us-east-1.amazonaws.com/x?byProvider=b%20b&a=2&a=1&empty=&flag"},
    "a path to tidy": {"url": f"{RUNTIME}/a//b/./c/../d%20e/~f/"},
    "the root": {"url": RUNTIME},
    "a port": {"url": "http://localhost:8000/model/m/converse", "region": "local-1"},
    "a port that goes without saying": {"url": "https://Example.com:443/p"},
    "headers to sign and not": {"url": f"{RUNTIME}/model/m/converse", "headers": {
        "Content-Type": "application/json;  charset=utf-8 ", "X-Amz-Meta": "  a   b ", "X-Amz-Date": "19700101T000000Z",
        "User-Agent": "x", "Accept": "*/*"}, "signed": ["Content-Type", "X-Amz-Meta"]},
    "a digest that is given": {"url": f"{RUNTIME}/p", "headers": {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}},
    "another service": {"url": "https://sts.amazonaws.com/", "service": "sts", "method": "post",
                        "body": "Action=GetCallerIdentity&Version=2011-06-15",
                        "headers": {"content-type": "application/x-www-form-urlencoded"}},
}
USUAL: dict[str, Any] = {
    "method": "POST", "headers": {"Content-Type": "application/json"}, "body": '{"messages":[]}', "region": "us-east-1",
    "service": "bedrock", "session_token": None, "time": 1_440_938_160}


def freeze_signatures() -> None:
    frozen = {}
    for name, given in REQUESTS.items():
        case = {**USUAL, **given}
        kept = case.pop("signed", list(case["headers"]))
        headers = {key: value for key, value in case["headers"].items() if key in kept}
        request = AWSRequest(method=case["method"], url=case["url"], headers=headers, data=case["body"].encode())
        credentials = Credentials(KEY, SECRET, case["session_token"])
        signer = botocore.auth.SigV4Auth(credentials, case["service"], case["region"])
        moment = datetime.datetime.fromtimestamp(case["time"], datetime.UTC)
        with patch.object(botocore.auth, "get_current_datetime", lambda moment=moment: moment):
            signer.add_auth(request)
        added = {key.lower(): value for key, value in request.headers.items()
                 if key.lower() in ("authorization", "x-amz-date", "x-amz-security-token")}
        frozen[name] = {**case, "added": added}
    save(HERE / "sigv4.json", {"access_key_id": KEY, "secret_access_key": SECRET, "requests": frozen})


if __name__ == "__main__":
    freeze_shapes()
    freeze_frames()
    freeze_written()
    freeze_signatures()
