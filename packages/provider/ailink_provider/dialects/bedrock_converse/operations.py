"""What can be asked in this dialect: a reply, whole (``Converse``) or streamed (``ConverseStream``)."""

from urllib.parse import quote

from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.dialects.bedrock_converse import meter, replies, requests, stream_writer, streams
from ailink_provider.dialects.conversation import Conversation, Rooms


class Converse(Conversation):
    """``POST /model/{id}/converse`` and ``/converse-stream``."""

    rooms = Rooms(requests.read_request, requests.write_request, replies.read_reply, replies.write_reply,
                  streams.Reader, stream_writer.Writer, meter.Meter, meter.measure)

    def path(self, model: str, stream: bool) -> str:
        """Return the path. The colons and slashes of an id or ARN are encoded, as the service's own SDKs do."""
        return f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Leave the model to the path. Usage is always reported in this dialect."""
        body.pop("modelId", None)
