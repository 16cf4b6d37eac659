"""The operation "responses": ``POST /responses``. Joins the rooms of this dialect, translates nothing itself."""

from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.dialects.conversation import Conversation, Rooms
from ailink_provider.dialects.openai_responses import meter, replies, requests
from ailink_provider.dialects.openai_responses.reasoning import restore
from ailink_provider.dialects.openai_responses.streams import Reader, Writer


class Responses(Conversation):
    """Asks for the next turn of a conversation. See ``Operation`` for what each method promises."""

    name = "responses"
    rooms = Rooms(requests.read_request, requests.write_request, replies.read_reply, replies.write_reply,
                  Reader, Writer, meter.StreamMeter, meter.measure)

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/responses"

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, and open the thoughts that this gateway had sealed, in place. Usage is always reported."""
        super().amend(body, model, facts)
        if (restored := restore(body)) is not None:
            body["input"] = restored
