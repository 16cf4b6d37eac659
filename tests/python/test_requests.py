"""Paths, ids and filters as they are put into words."""

import string
from datetime import UTC, datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink._requests import IDEMPOTENCY_HEADER, management_path, public_id, query_from, url_for, with_header

base62 = st.text(string.ascii_letters + string.digits, min_size=50, max_size=50)


@pytest.mark.parametrize("key", ["a\nb", "a\r\nX-Other: b", "\0"])
def test_an_idempotency_key_that_no_header_can_hold_is_refused(key):
    with pytest.raises(ValueError, match="Idempotency-Key is one line"):
        with_header(None, IDEMPOTENCY_HEADER, key)


@given(project=st.text(string.ascii_letters + string.digits + "_-", min_size=1), tail=base62)
def test_of_a_token_only_the_public_id_is_left(project, tail):
    assert public_id(f"ailink_v1_proj_{project}_tok_{tail}") == f"tok_{tail[:12]}"


@given(tail=base62, kept=st.integers(min_value=0, max_value=60))
def test_of_a_token_cut_anywhere_no_secret_is_left(tail, kept):
    assert tail[:13] not in public_id(f"ailink_v1_proj_default_tok_{tail[:kept]}")


@pytest.mark.parametrize("value", ["tok_AbCdEf012345", "nonexistent", "3f0c1b5e-uuid", "my_tok_name", "ailink_v1_..."])
def test_what_is_no_token_stays_as_it_is(value):
    assert public_id(value) == value


@pytest.mark.parametrize(("identifier", "path"), [
    ("tok_1", "/api/v1/tokens/tok_1"),
    ("a/b?c#d", "/api/v1/tokens/a%2Fb%3Fc%23d"),
    ("..", "/api/v1/tokens/%2E%2E"),
    ("é %", "/api/v1/tokens/%C3%A9%20%25"),
])
def test_an_id_is_one_segment_of_the_path(identifier, path):
    assert management_path("tokens", identifier) == path


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_id_leaves_its_resource(identifier):
    url = httpx2.URL("http://gateway" + management_path("tokens", identifier))
    assert url.raw_path.startswith(b"/api/v1/tokens/")
    assert url.raw_path.count(b"/") == 4


def test_an_empty_id_is_refused():
    with pytest.raises(ValueError, match="id is needed"):
        management_path("tokens", "")


@pytest.mark.parametrize("path", ["https://evil.example.com/x", " HTTP://evil.example.com", "file:///etc/passwd"])
def test_a_whole_url_is_no_path(path):
    with pytest.raises(ValueError, match="not a whole URL"):
        url_for("http://gateway", path)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126)))
def test_no_path_leaves_the_gateway(path):
    try:
        url = url_for("http://gateway", path)
    except (ValueError, httpx2.InvalidURL):
        return
    assert (url.host, url.userinfo, url.port) == ("gateway", b"", None)


def test_filters_become_parameters(token):
    moment = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert query_from({"limit": 5, "from_": moment, "token_id": token, "model": None}) == {
        "limit": 5, "from": "2026-05-01T12:00:00+00:00", "token_id": "tok_AbCdEf012345",
    }
