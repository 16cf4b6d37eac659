"""The operation "chat": ``POST /api/chat``. Joins the rooms of this dialect, translates nothing itself."""

from ailink_provider.dialects.conversation import Conversation, Rooms
from ailink_provider.dialects.ollama import meter, replies, requests
from ailink_provider.dialects.ollama.streams import ChatReader, ChatWriter


class ChatCompletions(Conversation):
    """Asks for the next message of a conversation. See ``Operation`` for what each method promises."""

    rooms = Rooms(requests.read_request, requests.write_request, replies.read_reply, replies.write_reply,
                  ChatReader, ChatWriter, meter.StreamMeter, meter.measure)

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/api/chat"
