"""Metrics say what happened, in Prometheus' format, and stay small whatever callers send."""

import re
from typing import Any

import msgspec
import pytest

from ailink_gateway.observe import BUCKETS_MS, MODELS, Metrics
from ailink_gateway.record import Opened, Record, unknown


def record(**fields: Any) -> Record:
    said = {"status": 200, "response_latency_ms": 30.0, "prompt_tokens": 11, "completion_tokens": 7,
            "cost_nano": 97_500, **fields}  # fmt: skip
    opened = Opened("r", 1.0, "tok_x", "p", "POST", "/x", "chat", "gpt-4o", "openai")
    return msgspec.structs.replace(unknown(opened, 2.0), **said)


def values(metrics: Metrics) -> dict[str, float]:
    """Read the format back: every line is a comment or a name with labels and a number."""
    found = {}
    for line in metrics.text().splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))", line)
            continue
        name, value = line.rsplit(" ", 1)
        assert re.fullmatch(r'[a-z_]+(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})?', name), line
        assert name not in found
        found[name] = float(value)
    return found


LABELS = '{provider="openai",model="gpt-4o",status="200"}'


def test_calls_are_counted() -> None:
    metrics = Metrics()
    for latency in (3.0, 30.0, 1e9):
        metrics.count(record(response_latency_ms=latency))
    found = values(metrics)
    assert found[f"ailb_requests_total{LABELS}"] == 3
    assert found[f"ailb_tokens_processed{LABELS}"] == 54
    assert found[f"ailb_cost_total_usd{LABELS}"] == pytest.approx(3 * 97_500e-9)
    assert f"ailb_cost_total_usd{LABELS} 0.000292500\n" in metrics.text(), "exact to the nano-dollar"
    buckets = [found[f'ailb_request_latency_ms_bucket{LABELS[:-1]},le="{bound}"}}'] for bound in BUCKETS_MS]
    assert buckets == [1, 1, 1, *[2] * (len(BUCKETS_MS) - 3)]
    assert found[f'ailb_request_latency_ms_bucket{LABELS[:-1]},le="+Inf"}}'] == 3
    assert found[f"ailb_request_latency_ms_count{LABELS}"] == 3
    assert found[f"ailb_request_latency_ms_sum{LABELS}"] == 1e9 + 33


def test_what_is_unknown_is_none_and_counts_nothing() -> None:
    metrics = Metrics()
    nothing = dict.fromkeys(("provider", "model", "status", "response_latency_ms", "prompt_tokens", "cost_nano"))
    metrics.count(record(**nothing, completion_tokens=None))
    found = values(metrics)
    labels = '{provider="none",model="none",status="none"}'
    assert found[f"ailb_requests_total{labels}"] == 1
    assert found[f"ailb_tokens_processed{labels}"] == found[f"ailb_cost_total_usd{labels}"] == 0


def test_names_that_callers_make_up_have_no_series_of_their_own() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.count(record(model=f"gpt-{number}", status=404))
    assert [name for name in values(metrics) if name.startswith("ailb_requests_total")] == [
        'ailb_requests_total{provider="other",model="other",status="404"}'
    ]
    metrics.count(record())
    metrics.count(record(status=429))
    found = values(metrics)
    assert found['ailb_requests_total{provider="openai",model="gpt-4o",status="429"}'] == 1


def test_series_are_bounded() -> None:
    metrics = Metrics()
    for number in range(2 * MODELS):
        metrics.count(record(model=f"m-{number}"))
    found = {name: value for name, value in values(metrics).items() if name.startswith("ailb_requests_total")}
    assert len(found) == MODELS + 1
    assert found['ailb_requests_total{provider="openai",model="other",status="200"}'] == MODELS
    for status in range(100, 600):
        metrics.count(record(status=status))
    statuses = {line for line in values(metrics) if 'model="gpt-4o"' in line and line.startswith("ailb_requests")}
    assert not statuses, "the name came when all places were taken"
    others = [line for line in values(metrics) if 'model="other"' in line and line.startswith("ailb_requests")]
    assert len(others) < 50


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.count(record(model='a"b\\c\nd'))
    assert 'ailb_requests_total{provider="openai",model="a\\"b\\\\c\\nd",status="200"}' in values(metrics)


def test_strangers_are_counted_and_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = [100.0]
    metrics = Metrics(lambda: clock[0])
    for number in range(1000):
        metrics.refuse("invalid_api_key", f"req_{number}", "10.0.0.1")
    assert values(metrics)['ailink_refused_callers_total{code="invalid_api_key"}'] == 1000
    assert [entry.getMessage() for entry in caplog.records] == [
        "1 callers were refused, the last one req_0 from 10.0.0.1: invalid_api_key"
    ]
    clock[0] += 10
    metrics.refuse("invalid_api_key", "req_x", None)
    assert "1000 callers were refused, the last one req_x" in caplog.text


def test_others_show_what_they_know() -> None:
    metrics = Metrics()
    metrics.show("ailink_spool_backlog_bytes", "Bytes.", "gauge", lambda: {(): 5})
    metrics.show("ailink_breakers", "States.", "gauge", lambda: {(("state", "open"),): 2, (("state", "closed"),): 1})
    found = values(metrics)
    assert found["ailink_spool_backlog_bytes"] == 5
    assert found['ailink_breakers{state="open"}'] == 2
