"""An error inside a stream names the request that it ended, whether the gateway translates it or only meters it."""

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
