"""The kinds of fields that resources share: names, times, money, pages. Knows no resource."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from ailink_gateway.tokens import public_id

T = TypeVar("T")


class Input(BaseModel):
    """What a client sends. Unknown fields are refused, so that a typing error never passes for a setting."""

    model_config = ConfigDict(extra="forbid")


class Listing(Input):
    """Which page of a list is asked for."""

    limit: int = Field(20, ge=1, le=100, description="How many entries at most.")
    starting_after: str | None = Field(None, max_length=256, description="The id of the last entry of the page before.")


class Page(BaseModel, Generic[T]):
    """One page of a list, newest first."""

    data: list[T]
    has_more: bool = Field(description="Whether older entries follow: ask again with starting_after.")


class Deleted(BaseModel):
    """What is gone."""

    id: str
    deleted: Literal[True] = True


def optional(**about: Any) -> Any:
    """Return a field of a change that may be left out, though not be null: then it keeps its value."""
    return Field(default=None, json_schema_extra=_without_default, **about)


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


def changes(body: BaseModel) -> dict[str, Any]:
    """Return the fields that a client sent, and only those; what they hold is whole, its defaults included."""
    return body.model_dump(include=body.model_fields_set)


def seconds(moment: datetime | None) -> float | None:
    """Return a moment as Unix seconds."""
    return None if moment is None else moment.timestamp()


def either_form(text: str) -> str:
    """Return a token's id for the whole token. A text of neither form stays as it is, and will not be found."""
    return public_id(text) or text


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise PydanticCustomError("not_printable", "must have no control characters and no outer spaces")
    return text


def _visible_ascii(text: str) -> str:
    if not all("!" <= character <= "~" for character in text):
        if (compact := _key_file(text)) is not None:
            return compact
        raise PydanticCustomError("not_visible_ascii", "must have no spaces, line ends or non-ASCII characters")
    return text


def _key_file(text: str) -> str | None:
    """Return a key file, which is a JSON object, on one line; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return json.dumps(found, separators=(",", ":")) if isinstance(found, dict) else None


def _moment(value: object) -> object:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, float) else value


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _usd(nano: object) -> object:
    return nano / 1e9 if isinstance(nano, int) else nano


Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
Reference = Annotated[str, Field(min_length=1, max_length=64)]
ProjectId = Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,32}$")]
Model = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_printable)]
Secret = Annotated[str, Field(min_length=1, max_length=8192), AfterValidator(_visible_ascii)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
# A moment that is asked for: in UTC unless it says otherwise.
Instant = Annotated[datetime, AfterValidator(_utc)]
Usd = Annotated[float, BeforeValidator(_usd)]
# A moment that can be written down again whatever its offset, which the year 9999's last cannot.
Future = Annotated[AwareDatetime, Field(lt=datetime(9000, 1, 1, tzinfo=UTC))]
