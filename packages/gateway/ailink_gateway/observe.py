"""Logs and metrics. Neither holds a call's content, nor a secret.

Logs are one JSON object a line on standard error, so that no message can forge another. Metrics are a few sums in
memory, changed once a call, whose number is bounded whatever callers send.
"""

import logging
import sys
import traceback
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from time import monotonic

from msgspec.json import encode

from ailink_gateway.record import Record

logger = logging.getLogger("ailink")

MESSAGE_LIMIT = 4000


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON; control characters are escaped by the encoding."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MESSAGE_LIMIT],
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            # Where it happened, and of what type: the words of an exception may quote what a client or an upstream
            # sent.
            line["error"] = type(error).__name__
            line["at"] = "; ".join(
                f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]
            )
        return encode(line).decode()


def configure(level: int = logging.INFO) -> None:
    """Send all logs of this process through ``JsonLines``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True


BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000)
MODELS = 300
PROVIDERS = 100
SAMPLE_SECONDS = 10.0
OTHER, NONE = "other", "none"
FIRST_ERROR = 400
# What the gateway itself answers and what is common; any other status counts as its class.
STATUSES = frozenset((200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415,
                      422, 429, 499, 500, 501, 502, 503, 504, 529))  # fmt: skip

Labels = tuple[tuple[str, str], ...]
Reading = Callable[[], Mapping[Labels, float]]


class _Series:
    """What the calls of one provider, model and status add up to."""

    __slots__ = ("buckets", "cost_nano", "latency_ms", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = self.tokens = self.cost_nano = 0
        self.latency_ms = 0.0
        self.buckets = [0] * (len(BUCKETS_MS) + 1)


class Metrics:
    """Counts calls, and shows what it counted beside what others tell it, in Prometheus' text format.

    Callers choose names of models, so a name has a label of its own only once a call to it succeeded, and only so many
    have; all others are "other".

    Args:
        now: the time in seconds, from any beginning.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._named: dict[tuple[str | None, str | None, int | None], _Series] = {}  # the same, by what records say
        self._providers: set[str] = set()
        self._models: set[str] = set()
        self._refused: dict[str, int] = {}
        self._unsaid = 0
        self._next_sample = 0.0
        self._readings: list[tuple[str, str, str, Reading]] = []

    def count(self, record: Record) -> None:
        """Count a call that has its record."""
        named = record.provider, record.model, record.status
        series = self._named.get(named) or self._find(*named)
        series.requests += 1
        if record.response_latency_ms is not None:
            series.latency_ms += record.response_latency_ms
            series.buckets[bisect_left(BUCKETS_MS, record.response_latency_ms)] += 1
        series.tokens += (record.prompt_tokens or 0) + (record.completion_tokens or 0)
        series.cost_nano += record.cost_nano or 0

    def _find(self, provider: str | None, model: str | None, status: int | None) -> _Series:
        well = status is not None and status < FIRST_ERROR
        key = (
            _known(provider, self._providers, PROVIDERS, well),
            _known(model, self._models, MODELS, well),
            _status(status),
        )
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        if key[:2] == (provider, model) and status in STATUSES:  # their labels are settled, and their number is bounded
            self._named[provider, model, status] = series
        return series

    def refuse(self, code: str, request_id: str, client_ip: str | None) -> None:
        """Count a request of someone who could not be told, and log one now and then with how many there were."""
        self._refused[code] = self._refused.get(code, 0) + 1
        self._unsaid += 1
        now = self._now()
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE_SECONDS
            logger.warning("%d callers were refused, the last one %s from %s: %s", self._unsaid, request_id, client_ip,
                           code)
            self._unsaid = 0

    def show(self, name: str, about: str, kind: str, reading: Reading) -> None:
        """Show also what ``reading`` returns, by its labels, under a name; ``kind`` is gauge or counter."""
        self._readings.append((name, about, kind, reading))

    def text(self) -> str:
        """Return everything in Prometheus' text format, version 0.0.4."""
        lines = [*self._calls()]
        lines += _head("ailink_refused_callers_total", "Requests without a valid token, by error code.", "counter")
        lines += [f'ailink_refused_callers_total{{code="{code}"}} {count}' for code, count in self._refused.items()]
        for name, about, kind, reading in self._readings:
            lines += _head(name, about, kind)
            lines += [f"{name}{_labels(labels)} {value:.17g}" for labels, value in reading().items()]
        return "\n".join(lines) + "\n"

    def _calls(self) -> Iterator[str]:
        series = [(_labels(tuple(zip(_BY, key, strict=True))), one) for key, one in sorted(self._series.items())]
        yield from _head("ailb_requests_total", "Calls that were answered, refused or given up.", "counter")
        yield from (f"ailb_requests_total{labels} {one.requests}" for labels, one in series)
        yield from _head("ailb_request_latency_ms", "From a call's first byte to its last.", "histogram")
        for labels, one in series:
            within = 0
            for bound, count in zip((*BUCKETS_MS, "+Inf"), one.buckets, strict=True):
                within += count
                yield f'ailb_request_latency_ms_bucket{labels[:-1]},le="{bound}"}} {within}'
            yield f"ailb_request_latency_ms_sum{labels} {one.latency_ms:.3f}"
            yield f"ailb_request_latency_ms_count{labels} {within}"
        yield from _head("ailb_tokens_processed", "Tokens of prompts and completions.", "counter")
        yield from (f"ailb_tokens_processed{labels} {one.tokens}" for labels, one in series)
        yield from _head("ailb_cost_total_usd", "What calls cost, in US dollars.", "counter")
        for labels, one in series:
            yield f"ailb_cost_total_usd{labels} {one.cost_nano // 10**9}.{one.cost_nano % 10**9:09}"


_BY = ("provider", "model", "status")


def _known(name: str | None, known: set[str], most: int, well: bool) -> str:
    if not name:
        return NONE
    if name in known:
        return name
    if not well or len(known) >= most:
        return OTHER
    known.add(name)
    return name


def _status(status: int | None) -> str:
    if status is None:
        return NONE
    return str(status) if status in STATUSES else f"{status // 100}xx"


def _head(name: str, about: str, kind: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    written = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(written) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
