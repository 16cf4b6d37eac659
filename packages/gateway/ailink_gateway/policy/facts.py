"""What conditions can know of one call, read lazily: a rule that needs no body never has one parsed.

``Facts`` reads an exchange. Whoever judges from less (a record of the past) gives the same names and raises
``Undecidable`` for what is not known.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

import msgspec

from ailink_gateway.envelope import read_document
from ailink_gateway.policy import paths
from ailink_gateway.policy.bodies import Body, Unreadable, read_body
from ailink_gateway.policy.paths import MISSING, Path
from ailink_gateway.services import PREFIX, spellings
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.exchange import Exchange
    from ailink_gateway.policy.replies import Answer
    from ailink_gateway.ports import Spent

NANO = 1_000_000_000
HOUR, DAY = 3600, 86_400
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FIRST_WEEKDAY = 3  # of Unix time, which began on a Thursday

_UNREAD: Any = object()

Spending: TypeAlias = "Callable[[Literal['token', 'project']], Spent]"
"""What the caller's token or project has spent before this call."""


class Undecidable(Exception):
    """What a condition asks for is not known. ``args[0]`` says what."""


class Facts:
    """The facts of one call, as it stands: what a rule rewrote reads as rewritten."""

    __slots__ = ("_body", "_moment", "_spent", "answer", "clock", "exchange", "spending")

    def __init__(self, exchange: "Exchange", spending: "Spending", *, clock: Callable[[], float] = time) -> None:
        self.exchange = exchange
        self.spending = spending
        self.clock = clock
        self.answer: Answer | None = None
        self._body: Any = _UNREAD
        self._moment: int | None = None
        self._spent: Spent | None = None

    # --- the request ---------------------------------------------------------------------------

    @property
    def method(self) -> Any:
        """The method."""
        return self.exchange.method

    @property
    def path(self) -> Any:
        """The path that is asked for, decoded, in the one spelling that rules can rely on (see ``plain_path``)."""
        return plain_path(self.exchange)

    @property
    def paths(self) -> tuple[str, ...]:
        """All names of that path: of a service's call also those that it has at the gateway, below the service's."""
        path = plain_path(self.exchange)
        if self.exchange.service is None:
            return (path,)
        prefix = PREFIX + self.exchange.service
        return path, *(prefix + spelling for spelling in spellings(path, _base(self.exchange)))

    @property
    def body_size(self) -> Any:
        """Bytes of the body."""
        return len(self.exchange.body)

    @property
    def model(self) -> Any:
        """The model that was asked for."""
        return self.exchange.model or MISSING

    @property
    def target_models(self) -> list[Any]:
        """The models that may answer, in order."""
        return [target.model for target in self.exchange.targets if target.model]

    @property
    def target_providers(self) -> list[Any]:
        """Where they are."""
        return [target.upstream.name for target in self.exchange.targets]

    def header(self, name: bytes) -> Any:
        """Return a header, a repeated one joined by commas."""
        value = self.exchange.headers.get(name)
        if value is None:
            return MISSING
        if len(self.exchange.headers) != len(self.exchange.raw_headers):
            value = b", ".join(each for key, each in self.exchange.raw_headers if key == name) or value
        return value.decode("utf-8", "replace")

    def header_values(self, name: bytes) -> list[Any]:
        """Return the values of a header, of a repeated one each and all joined by commas: its reader may take any."""
        value = self.header(name)
        if value is MISSING:
            return []
        if len(self.exchange.headers) == len(self.exchange.raw_headers):
            return [value]
        each = [line.decode("utf-8", "replace") for key, line in self.exchange.raw_headers if key == name]
        return [*each, value] if len(each) > 1 else [value]

    def query(self, name: str) -> list[Any]:
        """Return the values of a query parameter. Some servers take a semicolon for an ampersand: those, too."""
        query = self.exchange.query.decode("latin-1")
        pairs = parse_qsl(query, keep_blank_values=True) if query else []
        if ";" in query:
            pairs += parse_qsl(query.replace(";", "&"), keep_blank_values=True)
        return [value for key, value in pairs if key == name]

    def read_body(self) -> Body | None:
        """Return the body, read when it is first asked for. Raises ``Failure`` if it cannot be."""
        if self._body is _UNREAD:
            exchange = self.exchange
            model = exchange.route.kind == "model"
            kinds = Facts.header_values(self, b"content-type")
            if len(kinds) > 1 and not model:
                raise Unreadable("its Content-Type stands twice")
            self._body = read_body(kinds[0] if kinds else None, exchange.body, model=model)
        return self._body  # type: ignore[no-any-return]

    def put_body(self, body: Body) -> None:
        """Have this be the body from now on."""
        self._body = body

    def body_value(self, path: Path) -> Any:
        """Return what a path in the body leads to."""
        body = self.read_body()
        return MISSING if body is None else paths.read(body.tree, path)

    def body_values(self, path: Path) -> list[Any]:
        """Return everything that a path in the body leads to."""
        body = self.read_body()
        return [] if body is None else paths.read_all(body.tree, path)

    def body_member(self, name: str) -> Any:
        """Return a member of the body's root. A plain value of a model's request is read alone."""
        if self._body is _UNREAD and self.exchange.route.kind == "model":
            raw = self.exchange.members.get(name)
            if raw is None:
                return MISSING
            data = bytes(raw).strip()
            if data[:1] not in (b"{", b"["):
                return _plain(data)
        return self.body_value((name,))

    # --- who and when --------------------------------------------------------------------------

    @property
    def agent_name(self) -> Any:
        """How the agent calls itself."""
        return self.header(b"x-ailink-agent-name")

    @property
    def token_id(self) -> Any:
        """The token's id; anonymous callers have none."""
        grant = self.exchange.grant
        return MISSING if grant is None or grant.token_id is None else grant.token_id

    @property
    def token_name(self) -> Any:
        """The token's name."""
        return MISSING if self.exchange.grant is None else self.exchange.grant.token_name

    @property
    def project_id(self) -> Any:
        """The project."""
        return MISSING if self.exchange.grant is None else self.exchange.grant.project_id

    @property
    def ip(self) -> Any:
        """The address of the caller."""
        return self.exchange.client_ip or MISSING

    @property
    def hour(self) -> Any:
        """The hour, 0 to 23, in UTC."""
        return self._now() % DAY // HOUR

    @property
    def weekday(self) -> Any:
        """The day of the week, mon to sun, in UTC."""
        return WEEKDAYS[(self._now() // DAY + FIRST_WEEKDAY) % len(WEEKDAYS)]

    @property
    def date(self) -> Any:
        """The day as 2026-12-31, in UTC."""
        return datetime.fromtimestamp(self._now(), UTC).date().isoformat()

    def _now(self) -> int:
        """Return the one moment at which all rules judge the call."""
        if self._moment is None:
            self._moment = int(self.clock())
        return self._moment

    # --- what was spent ------------------------------------------------------------------------

    @property
    def spent(self) -> "Spent":
        """What the caller's token has spent and asked before this call."""
        if self._spent is None:
            self._spent = self.spending("token")
        return self._spent

    @property
    def spent_by_project(self) -> "Spent":
        """What the caller's project has spent and asked before this call."""
        return self.spending("project")

    @property
    def spend_today_usd(self) -> Any:
        """USD since midnight."""
        return self.spent.today_nano / NANO

    @property
    def spend_month_usd(self) -> Any:
        """USD since the month began."""
        return self.spent.month_nano / NANO

    @property
    def requests_today(self) -> Any:
        """Calls since midnight."""
        return self.spent.requests_today

    @property
    def requests_this_hour(self) -> Any:
        """Calls since the hour began."""
        return self.spent.requests_this_hour

    # --- the reply -----------------------------------------------------------------------------

    @property
    def status(self) -> Any:
        """The status of the reply."""
        return MISSING if self.answer is None else self.answer.status

    def reply_header(self, name: bytes) -> Any:
        """Return a header of the reply, a repeated one joined by commas."""
        return MISSING if self.answer is None else self.answer.header(name)

    def reply_value(self, path: Path) -> Any:
        """Return what a path in the reply's body leads to."""
        body = None if self.answer is None else self.answer.body
        return MISSING if body is None else paths.read(body.tree, path)

    def reply_values(self, path: Path) -> list[Any]:
        """Return everything that a path in the reply's body leads to."""
        body = None if self.answer is None else self.answer.body
        return [] if body is None else paths.read_all(body.tree, path)


def plain_path(exchange: "Exchange") -> str:
    """Return the path that a request is for, so that one thing has one name.

    A model's route is the vendor's own path, with its version. An API's is what is sent below the upstream's base, with
    the version that the upstream's URL ends in if the client left it out. Raises ``Failure`` for an empty segment: some
    servers would drop it, others not.
    """
    if exchange.route.kind == "model":
        path = unquote(exchange.raw_path.decode("latin-1")) if exchange.service is not None else exchange.path
        if exchange.route.model is not None:
            return "/v1beta" + path[3:] if path.startswith("/v1/") else path
        return path if path.startswith("/v1/") else "/v1" + path
    path = exchange.path if exchange.service is None else unquote(exchange.raw_path.decode("latin-1"))
    if "//" in path:
        raise Failure(
            "policy_denied",
            "The path has an empty segment, and a policy must judge it: send it without.",
            param="path",
            reason="path_not_allowed",
        )
    return spellings(path, _base(exchange))[0]


def _base(exchange: "Exchange") -> str:
    return exchange.targets[0].upstream.base if exchange.targets else ""


def _plain(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Such as a number beyond 64 bits, or half a surrogate pair, which only the slow reader takes.
        return read_document(data)
