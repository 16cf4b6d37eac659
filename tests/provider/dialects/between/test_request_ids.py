"""An error inside a stream names the request that it ended, whether the gateway translates it or only meters it, and is
the end of that stream: its framing and its numbers go on where they were.
"""

import json
import re

import pytest

from ailink_provider.chat import Chat, Message, MessageError, MessageStart, PartDelta, PartStart, Text
from ailink_provider.dialects import Operation
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

ID = "req_0123456789"
STREAMED = [
    pytest.param(operation, id=f"{dialect.name} {operation.name}")
    for dialect in dialects().values()
    for operation in dialect.operations.values()
    if operation.speaks is Chat and operation.name != "count_tokens"
]


def chat() -> Chat:
    return Chat(model="m", messages=[Message("user", [Text("Hi")])])


def begun(operation: Operation) -> bytes:
    """Return how a stream begins."""
    writer = operation.writer(chat())
    return b"".join([
        writer.write(event) for event in (MessageStart("1", "m"), PartStart(0, Text("")), PartDelta(0, "Hello"))])


@pytest.mark.parametrize("operation", STREAMED)
@pytest.mark.parametrize("code", ["upstream_failed", "policy_denied"])
def test_a_translated_error_names_it(operation: Operation, code: str) -> None:
    error = MessageError(Failure(code, "It broke."))
    assert ID.encode() in operation.writer(chat(), ID).write(error)
    assert b"request_id" not in operation.writer(chat()).write(error)


@pytest.mark.parametrize("operation", STREAMED)
def test_the_error_of_a_stream_that_was_cut_names_it(operation: Operation) -> None:
    meter = operation.meter({}, ID)
    beginning = meter.feed(begun(operation))
    assert b"Hello" in beginning
    assert ID.encode() not in beginning
    assert ID.encode() in meter.close()
    assert meter.measured.failure is not None


@pytest.mark.parametrize("operation", STREAMED)
def test_a_stream_that_breaks_ends_with_the_error_once(operation: Operation) -> None:
    meter = operation.meter({}, ID)
    stream = meter.feed(begun(operation)) + meter.fail(Failure("upstream_timeout", "It fell silent."))
    assert stream.count(ID.encode()) == 1
    assert meter.measured.failure is not None and meter.measured.failure.code == "upstream_timeout"
    assert meter.fail(Failure("upstream_failed", "Again.")) + meter.close() == b""
    if operation.name == "chat_array":
        assert [list(entry) for entry in json.loads(stream)][-1] == ["error"]
    numbers = [int(number) for number in re.findall(rb'"sequence_number": ?([0-9]+)', stream)]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("operation", STREAMED)
def test_nothing_is_told_inside_a_stream_that_has_not_begun(operation: Operation) -> None:
    meter = operation.meter({}, ID)
    assert meter.fail(Failure("upstream_failed", "It broke.")) == b""
    assert meter.measured.failure is not None
