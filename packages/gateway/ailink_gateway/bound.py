"""The most that a model's call may cost, told from the request that will be sent. Reads only the members it needs.

Input counts for at most one token a byte (``media``), never for more than the model's context window. Output counts for
the limit that is sent, else for the most that the model can produce. All is priced where it is dearest.
"""

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import encode

from ailink_gateway.charges import CHEAP, asked_tier
from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Target
from ailink_gateway.media import Extent, extent
from ailink_gateway.speech import is_relayed
from ailink_provider.catalog import Facts
from ailink_provider.dialects import OutputLimit
from ailink_provider.prices import Most, Price

DEFAULT_OUTPUT = 8192  # tokens; sent as the limit to a model that nothing is known of
LARGEST_WINDOW = 1_048_576  # tokens; bounds the input of such a model
LEAST_OUTPUT = 64  # tokens; a limit that is lowered further helps nobody
LEAST_THOUGHT = 1024  # tokens; the same for a model that thinks before it answers, by no budget
LEAST_BUDGET = 1024  # tokens; what a translation adds for thoughts to a limit that leaves no room for them
LEAST_LIMIT = 16  # tokens; to which a translation may raise a limit

_any = msgspec.json.Decoder(Any)


class Asked(Struct):
    """How much a request asks for: ``limit`` tokens of output for each of ``count`` answers, None if it says nothing.

    ``budget`` is for thoughts: None if none were asked for, 0 if without a number.
    """

    limit: int | None = None
    count: int = 1
    budget: int | None = None


class _Way(Struct, frozen=True):
    """One target of a call: what it costs there; ``extra`` tokens that may be added to a limit, and the ``ceiling`` of
    output where there is none.
    """

    costs: Most
    extra: int
    ceiling: int
    window: int | None


class Claim:
    """What a call may cost at most, as a function of the limit of its output.

    ``targets`` are those that have a price: what others cost is not known. ``sends_default`` says that a limit must be
    sent where the request has none, as one of the models is unknown and could produce without end.
    """

    __slots__ = ("_thinks", "_ways", "asked", "sends_default", "targets", "where")

    def __init__(self, exchange: Exchange) -> None:
        members, route = exchange.members, exchange.route
        self.where = where = route.dialect.limits.get(route.operation)
        self.asked = wanted = asked(members, where) if where is not None else Asked(limit=0)
        found = extent(members, exchange.body)
        self.targets: list[Target] = []
        self._ways: list[_Way] = []
        self._thinks = wanted.budget is not None
        # Who asks for none gets the one that the account with the vendor has.
        dear, unknown = asked_tier(members) not in CHEAP, False
        for target in exchange.targets:
            price = target.price(exchange.created_at)
            if price is None:
                continue
            if dear and price.dearest is not None:
                price = price.dearest
            facts = target.facts
            extra = 0 if where is None or is_relayed(exchange, target) else _added(wanted)
            if "prediction" in members:  # what is rejected of it is output that no limit counts
                extra += len(members["prediction"])
            self.targets.append(target)
            self._ways.append(_way(facts, price, found, extra, has_output=where is not None))
            if facts.thinking != "none" and not facts.thinking_off:
                self._thinks = True
            if facts.context_window is None:
                unknown = True
        self.sends_default = unknown and where is not None and wanted.limit is None

    @property
    def least_limit(self) -> int:
        """The lowest limit of output that still makes sense, in tokens."""
        least = LEAST_OUTPUT + (self.asked.budget or (LEAST_THOUGHT if self._thinks else 0))
        return least if self.asked.limit is None else min(least, self.asked.limit)

    def most(self, limit: int | None) -> int:
        """Return what the call costs at most with this limit, None for no limit, in nano-dollars."""
        dearest, count = 0, self.asked.count
        for way in self._ways:
            each = way.ceiling if limit is None else limit + way.extra
            if limit is not None and way.window is not None and each > way.window:
                each = way.window
            nano = way.costs.nano(each * count)
            if nano > dearest:
                dearest = nano
        return dearest

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


def _added(wanted: Asked) -> int:
    """Return how many tokens a translation may add to a limit."""
    return LEAST_LIMIT if wanted.budget is None else max(wanted.budget, LEAST_BUDGET)


def _way(facts: Facts, price: Price, found: Extent, extra: int, *, has_output: bool) -> _Way:
    window = facts.context_window
    tokens = found.tokens + found.images * facts.image_tokens
    if found.open_ended:
        tokens = max(tokens, window or LARGEST_WINDOW)
    if window is not None and tokens > window:
        tokens = window
    costs = price.most(tokens, caching=found.caching, hears=found.hears, speaks=found.speaks)
    known = max(facts.max_output_tokens, facts.output_ceiling or 0)
    ceiling = 0 if not has_output else DEFAULT_OUTPUT if window is None else known + extra
    return _Way(costs, extra, ceiling, window)


def asked(members: dict[str, Raw], where: OutputLimit) -> Asked:
    """Return how much a request asks for. What is no number asks for nothing: its upstream will refuse it.

    Raises ``Failure`` (``invalid_request``) for a limit that stands twice.
    """
    found = Asked()
    parts = _parts(where)
    levels = [_object(members[name]) for name in where.within if name in members] if where.within else (members,)
    for level in levels:
        for name in parts & level.keys():
            raw = level[name]
            if name in where.fields:
                if (limit := _number(raw)) > 0:
                    found.limit = max(found.limit or 0, limit)
            elif name in where.counts:
                found.count = max(found.count, _number(raw))
            elif bytes(raw) != b"null":
                found.budget = max(found.budget or 0, _budget(raw, where))
    if where.batch is not None and where.batch in members:
        items = _any.decode(members[where.batch])
        if isinstance(items, list) and items and not isinstance(items[0], int):
            found.count *= len(items)
    return found


@lru_cache(maxsize=64)
def _parts(where: OutputLimit) -> frozenset[str]:
    """Return the names of all that says how much is asked for."""
    return frozenset((*where.fields, *where.counts, *where.thinking))


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


def _object(raw: Raw | None) -> dict[str, Raw]:
    """Return the members of an object, none of what is no object. Raises ``Failure`` for one that stands twice, as the
    upstream might believe the other.
    """
    return read_members(bytes(raw)) if raw is not None and bytes(raw)[:1] == b"{" else {}


def _budget(raw: Raw, where: OutputLimit) -> int:
    thinking = _object(raw)
    return max([0, *(_number(thinking[name]) for name in where.budget if name in thinking)])


def _number(raw: Raw) -> int:
    """Return a whole number, however it is written; 0 for what is none."""
    value: Any = _any.decode(raw)
    if type(value) is int:
        return value
    if not isinstance(value, int | float | str):
        return 0
    try:
        return int(float(value)) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError):
        return 0
