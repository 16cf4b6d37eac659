"""The most that a model's call may cost, told from the request that will be sent. Reads only the members it needs.

Input counts for at most one token a byte (``media``), never for more than the model's context window. Output counts for
the limit that is sent, else for the most that the model can produce. All is priced where it is dearest.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.json import encode

from ailink_gateway.charges import DEAR, asked_tier
from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Target
from ailink_gateway.media import Extent, extent
from ailink_gateway.speech import is_relayed
from ailink_provider.dialects import OutputLimit
from ailink_provider.prices import Most

DEFAULT_OUTPUT = 8192  # tokens; sent as the limit to a model that nothing is known of
LARGEST_WINDOW = 1_048_576  # tokens; bounds the input of such a model
LEAST_OUTPUT = 64  # tokens; a limit that is lowered further helps nobody
LEAST_THOUGHT = 1024  # tokens; the same for a model that thinks before it answers, by no budget
LEAST_BUDGET = 1024  # tokens; what a translation adds for thoughts to a limit that leaves no room for them
LEAST_LIMIT = 16  # tokens; to which a translation may raise a limit

_CACHE_MARK = b"cache_control"
_SOUND = (b"audio", b"AUDIO")
_any = msgspec.json.Decoder(Any)


class Asked(Struct):
    """How much a request asks for: ``limit`` tokens of output for each of ``count`` answers, None if it says nothing.

    ``budget`` is for thoughts: None if none were asked for, 0 if without a number.
    """

    limit: int | None = None
    count: int = 1
    budget: int | None = None


class _Way(NamedTuple):
    """One target of a call: what it costs there; ``extra`` tokens that may be added to a limit, and the ``ceiling`` of
    output where there is none.
    """

    costs: Most
    extra: int
    ceiling: int
    window: int | None


class Claim:
    """What a call may cost at most, as a function of the limit of its output.

    Every target has a price. ``sends_default`` says that a limit must be sent where the request has none, as one of the
    models is unknown and could produce without end.
    """

    def __init__(self, exchange: Exchange) -> None:
        route = exchange.route
        self.where = route.dialect.limits.get(route.operation)
        self.asked = asked(exchange.members, self.where) if self.where is not None else Asked(limit=0)
        found = extent(exchange.members, exchange.body)
        self._dear = asked_tier(exchange.members) in DEAR
        self._ways = [self._way(exchange, target, found) for target in exchange.targets]
        always = any(target.facts.thinking != "none" and not target.facts.thinking_off for target in exchange.targets)
        self._thinks = always or self.asked.budget is not None
        unknown = any(target.facts.context_window is None for target in exchange.targets)
        self.sends_default = self.where is not None and self.asked.limit is None and unknown

    @property
    def least_limit(self) -> int:
        """The lowest limit of output that still makes sense, in tokens."""
        least = LEAST_OUTPUT + (self.asked.budget or (LEAST_THOUGHT if self._thinks else 0))
        return least if self.asked.limit is None else min(least, self.asked.limit)

    def most(self, limit: int | None) -> int:
        """Return what the call costs at most with this limit, None for no limit, in nano-dollars."""
        return max([way.costs.nano(self._output(way, limit)) for way in self._ways])

    def limit_for(self, nano: int) -> int:
        """Return the highest limit with which the call costs at most ``nano`` nano-dollars: negative if there is none.
        """
        highest = DEFAULT_OUTPUT if self.asked.limit is None else self.asked.limit
        if self.asked.limit is None:
            highest = max(way.ceiling for way in self._ways)
        for way in self._ways:
            paid = way.costs.output_for(nano)
            if paid is not None:
                highest = min(highest, paid // self.asked.count - way.extra)
        return highest

    def _output(self, way: _Way, limit: int | None) -> int:
        each = way.ceiling if limit is None else limit + way.extra
        if limit is not None and way.window is not None:
            each = min(each, way.window)
        return each * self.asked.count

    def _way(self, exchange: Exchange, target: Target, found: Extent) -> _Way:
        price = target.price(exchange.created_at)
        assert price is not None  # Reserve leaves out targets without one
        if self._dear:
            price = price.at_any()
        facts, body = target.facts, exchange.body
        extra = 0
        if self.where is not None and not is_relayed(exchange, target):
            extra = LEAST_LIMIT if self.asked.budget is None else max(self.asked.budget, LEAST_BUDGET)
        if "prediction" in exchange.members:  # what is rejected of it is output that no limit counts
            extra += len(bytes(exchange.members["prediction"]))
        window = facts.context_window
        tokens = found.tokens + found.images * facts.image_tokens
        if found.open_ended:
            tokens = max(tokens, window or LARGEST_WINDOW)
        dear = price.has_dear_kinds
        costs = price.most(
            tokens if window is None else min(tokens, window),
            caching=dear and _CACHE_MARK in body,
            hears=found.hears,
            speaks=dear and any(word in body for word in _SOUND),
        )
        known = max(facts.max_output_tokens, facts.output_ceiling or 0)
        ceiling = 0 if self.where is None else DEFAULT_OUTPUT if window is None else known + extra
        return _Way(costs, extra, ceiling, window)


def asked(members: dict[str, Raw], where: OutputLimit) -> Asked:
    """Return how much a request asks for. What is no number asks for nothing: its upstream will refuse it.

    Raises ``Failure`` (``invalid_request``) for a limit that stands twice.
    """
    found = Asked()
    for level in _levels(members, where):
        for name in where.fields:
            if (limit := _number(level.get(name))) > 0:
                found.limit = max(found.limit or 0, limit)
        found.count = max([found.count, *(_number(level.get(name)) for name in where.counts)])
        for name in where.thinking:
            if name in level and bytes(level[name]) != b"null":
                found.budget = max(found.budget or 0, _budget(level[name], where))
    if where.batch is not None and where.batch in members:
        items = _any.decode(members[where.batch])
        if isinstance(items, list) and items and not isinstance(items[0], int):
            found.count *= len(items)
    return found


def limit_output(exchange: Exchange, where: OutputLimit, limit: int) -> str:
    """Have a request ask for at most ``limit`` tokens of output, and return the name of the field that says so."""
    members = exchange.members
    if where.within:
        shown = ""
        for holder in [name for name in where.within if name in members] or where.within[:1]:
            level = _object(members.get(holder))
            shown = f"{holder}.{_set(level, where, limit)}"
            members[holder] = Raw(encode(level))
    else:
        shown = _set(members, where, limit)
    exchange.body = encode(members)
    return shown


def _set(level: dict[str, Raw], where: OutputLimit, limit: int) -> str:
    names = [name for name in where.fields if name in level] or [where.fields[0]]
    for name in names:
        level[name] = Raw(encode(limit))
    return names[0]


def _levels(members: dict[str, Raw], where: OutputLimit) -> list[dict[str, Raw]]:
    if not where.within:
        return [members]
    return [_object(members[name]) for name in where.within if name in members]


def _object(raw: Raw | None) -> dict[str, Raw]:
    """Return the members of an object, none of what is no object. Raises ``Failure`` for one that stands twice, as the
    upstream might believe the other.
    """
    return read_members(bytes(raw)) if raw is not None and bytes(raw)[:1] == b"{" else {}


def _budget(raw: Raw, where: OutputLimit) -> int:
    return max([0, *(_number(_object(raw).get(name)) for name in where.budget)])


def _number(raw: Raw | None) -> int:
    """Return a whole number, however it is written; 0 for what is none."""
    if raw is None:
        return 0
    value: Any = _any.decode(raw)
    if not isinstance(value, int | float | str):
        return 0
    try:
        return int(float(value)) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError):
        return 0
