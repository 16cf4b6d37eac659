"""What a draft reports: each loss once, however many there are."""

from ailink_provider.catalog import facts
from ailink_provider.chat import Chat
from ailink_provider.dialects import Loss
from ailink_provider.dialects.draft import Draft


class Unsearched(list[Loss]):
    """Losses that nobody looks through: with very many of them that takes the square of their number."""

    def __contains__(self, loss: object) -> bool:
        raise AssertionError(loss)


def test_a_loss_is_reported_once() -> None:
    draft = Draft(Chat("m", []), facts("m"), Unsearched())
    for path in ("top_k", "seed", "top_k"):
        draft.lose(path, "nobody knows it")
    draft.lose("seed", "it is too large")
    assert [(loss.field, loss.why) for loss in draft.losses] == [
        ("top_k", "nobody knows it"), ("seed", "nobody knows it"), ("seed", "it is too large"),
    ]  # fmt: skip
