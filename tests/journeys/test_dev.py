"""`ailink dev` as a newcomer meets it, and what `ailink serve` and `ailink db` say on the command line."""

import json
import re
import secrets
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from ailink import AIlinkClient
from ailink_provider.testing import KEYS, MockUpstream

from .clients import CLIENTS, Client, refused, send_raw
from .conftest import Gateway, clean_environment, run_ailink, wait_for

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKED = "What is the weather in Paris?"

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


class Banner(NamedTuple):
    """What `ailink dev` prints for the one who started it."""

    text: str
    url: str
    admin_key: str
    token: str
    curl: str


def banner_of(gateway: Gateway) -> Banner:
    """Return what is printed, once it is all there."""
    wait_for(lambda: "  curl " in gateway.output and gateway.output.endswith("\n\n"))
    said = gateway.output
    labels = (r"gateway +(http://\S+)", r"admin key +(\S+)", r"token +(\S+)")
    url, admin_key, token = (found[1] for label in labels if (found := re.search(label, said)))
    return Banner(said, url, admin_key, token, said[said.index("  curl ") :].strip())


@pytest.fixture(scope="module")
def dev(start_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway for development, without any key."""
    return start_gateway("dev")


@pytest.fixture(scope="module")
def banner(dev: Gateway) -> Banner:
    return banner_of(dev)


class TestTheFirstMinute:
    """Start, paste, see an answer."""

    def test_the_banner(self, dev: Gateway, banner: Banner) -> None:
        assert banner.url == dev.url
        assert banner.admin_key.startswith("ailink_admin_")
        assert banner.token.startswith("ailink_v1_proj_default_tok_")
        assert "NOT FOR PRODUCTION" in banner.text
        assert "simulator" in banner.text
        assert banner.text.startswith("AIlink for development"), "no log line stands before it"

    def test_the_curl_that_it_prints(self, banner: Banner, tmp_path: Path) -> None:
        pasted = subprocess.run(
            ["bash", "-c", banner.curl], capture_output=True, text=True, timeout=20, env=clean_environment({}),
            cwd=tmp_path, check=True,
        )  # fmt: skip
        answer = json.loads(pasted.stdout)
        assert "simulated" in answer["choices"][0]["message"]["content"].lower()
        assert answer["model"] == "gpt-4o"

    @every_client
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_anyone_here_may_call(self, client: Client, stream: bool, dev: Gateway) -> None:
        """Without a token, in every dialect; the answer says where it comes from."""
        for model in [other.model for other in CLIENTS]:
            url = dev.url + client.path(model, stream)
            answer = httpx2.post(url, json=client.body(model, stream, text=ASKED))
            assert answer.status_code == 200
            assert answer.headers["x-ailink-upstream"] == "simulated"
            assert ASKED in client.play(answer, stream)

    def test_models_are_listed(self, dev: Gateway) -> None:
        names = {model["id"] for model in httpx2.get(f"{dev.url}/v1/models").json()["data"]}
        assert {client.model for client in CLIENTS} <= names

    def test_the_documentation_is_served(self, dev: Gateway) -> None:
        assert "/docs" in dev.output
        assert httpx2.get(f"{dev.url}/docs").status_code == 200
        assert "/api/v1/tokens" in httpx2.get(f"{dev.url}/openapi.json").json()["paths"]

    def test_management(self, banner: Banner) -> None:
        with AIlinkClient.admin(admin_key=banner.admin_key, gateway_url=banner.url) as admin:
            assert [token.id for token in admin.tokens.list()]
            models = {record.model for record in admin.audit.list(limit=100)}
        assert "gpt-4o" in models, "what was called before is in the audit"


class TestSimulatedTools:
    """The official clients, streaming, with a tool that the words ask for."""

    def test_openai(self, banner: Banner) -> None:
        tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
        asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": ASKED}], "tools": [tool]}
        with (
            openai.OpenAI(base_url=f"{banner.url}/v1", api_key=banner.token, max_retries=0) as sdk,
            sdk.chat.completions.stream(**asked) as events,
        ):
            choice = events.get_final_completion().choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls
        call = choice.message.tool_calls[0].function
        assert call.name == "weather"
        assert set(json.loads(call.arguments)) == {"city"}

    def test_anthropic(self, banner: Banner) -> None:
        asked: Any = {
            "model": "claude-opus-4-6",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": ASKED}],
            "tools": [{"name": "weather", "input_schema": SCHEMA}],
        }
        with (
            anthropic.Anthropic(base_url=banner.url, api_key=banner.token, max_retries=0) as sdk,
            sdk.messages.stream(**asked) as events,
        ):
            message = events.get_final_message()
        assert message.stop_reason == "tool_use"
        call: Any = message.content[-1]
        assert (call.name, set(call.input)) == ("weather", {"city"})

    def test_gemini(self, banner: Banner) -> None:
        declared = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
        config = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=[declared])],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        sdk = genai.Client(api_key=banner.token, http_options=types.HttpOptions(base_url=banner.url))
        calls = [
            call
            for reply in sdk.models.generate_content_stream(model="gemini-2.5-flash", contents=ASKED, config=config)
            for call in reply.function_calls or []
        ]
        sdk.close()
        assert [(call.name, set(call.args or {})) for call in calls] == [("weather", {"city"})]


class TestTheOpenDoor:
    """What a web page, a form or another machine could do with it: nothing."""

    FOREIGN = (
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
    )

    def test_foreign_pages(self, dev: Gateway, banner: Banner) -> None:
        """They are refused with a token or an admin key, too, on every plane."""
        for headers in self.FOREIGN:
            for client in CLIENTS:
                url = dev.url + client.path(client.model)
                key = {"Authorization": f"Bearer {banner.token}"}
                answer = httpx2.post(url, json=client.body(client.model), headers={**headers, **key})
                assert (answer.status_code, answer.headers["x-ailink-error"]) == (403, "policy_denied"), headers
                assert answer.json()["error"]["reason"] == "foreign_origin"
                assert answer.headers["x-should-retry"] == "false"
            for path in ("/api/v1/tokens", "/docs", "/healthz", "/v1/models"):
                found = httpx2.get(dev.url + path, headers={**headers, "X-Admin-Key": banner.admin_key})
                assert found.status_code == 403, (path, headers)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
    def test_this_machine_by_its_names(self, dev: Gateway, host: str) -> None:
        headers = {"Host": f"{host}:{dev.address[1]}", "Origin": f"http://{host}:3000", "Sec-Fetch-Site": "same-site"}
        assert httpx2.get(f"{dev.url}/v1/models", headers=headers).status_code == 200

    @every_client
    def test_forms(self, client: Client, dev: Gateway, banner: Banner) -> None:
        """A page can send a form without asking; it cannot send JSON so."""
        body = json.dumps(client.body(client.model)).encode()
        url = dev.url + client.path(client.model)
        for form in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            answer = httpx2.post(url, content=body, headers={"Content-Type": form} if form else {})
            assert (answer.status_code, answer.headers["x-ailink-error"]) == (415, "invalid_request"), form
        chunked = f"POST {client.path(client.model)} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert send_raw(dev.url, chunked.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)).status_code == 415
        known = {"Content-Type": "text/plain", "Authorization": f"Bearer {banner.token}"}
        assert httpx2.post(url, content=body, headers=known).status_code == 200

    def test_management_is_not_open(self, dev: Gateway, banner: Banner) -> None:
        for headers in ({}, {"X-User-ID": "root"}, {"Authorization": "Bearer nonsense"}):
            for method, path in (("GET", "tokens"), ("POST", "tokens"), ("GET", "audit"), ("GET", "credentials")):
                answer = httpx2.request(method, f"{dev.url}/api/v1/{path}", headers=headers, json={})
                assert answer.status_code == 401, (method, path, headers)
        token = {"Authorization": f"Bearer {banner.token}"}
        assert httpx2.get(f"{dev.url}/api/v1/audit", headers=token).status_code == 403
        assert httpx2.get(f"{dev.url}/api/v1/tokens/self", headers=token).status_code == 200

    @every_client
    def test_a_wrong_token_is_not_anonymous(self, client: Client, dev: Gateway) -> None:
        headers = {"Authorization": "Bearer ailink_v1_nonsense"}
        answer = httpx2.post(dev.url + client.path(client.model), json=client.body(client.model), headers=headers)
        refused(client, answer, 401, "invalid_api_key")

    def test_it_listens_here_alone(self, dev: Gateway, tmp_path: Path) -> None:
        for host in ("0.0.0.0", "192.168.1.5"):
            found = run_ailink("dev", "--host", host, "--port", "0", cwd=tmp_path)
            assert found.returncode == 2
            assert host in found.stdout and "loopback" in found.stdout
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", dev.address[1])):
            pass


def test_the_second_start(
    start_gateway: Callable[..., Gateway], clouds: MockUpstream, upstream: MockUpstream, tmp_path: Path
) -> None:
    """Keys and token stay the same, readable by their owner alone; a provider whose key appears is asked itself."""
    data = tmp_path / "data"
    first = start_gateway("dev", data=data)
    before = banner_of(first)
    first.stop()
    kept = data / "dev.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    second = start_gateway("dev", data=data, OPENAI_API_KEY=KEYS["openai"], OPENAI_BASE_URL=clouds.url("/v1"))
    after = banner_of(second)
    assert (after.admin_key, after.token) == (before.admin_key, before.token)
    assert "openai" in after.text
    openai_client, anthropic_client, _ = CLIENTS
    headers = {"Authorization": f"Bearer {before.token}"}
    for client, said, label in (
        (openai_client, "echo: hi", clouds.url("/v1")),
        (anthropic_client, "imulate", "simulated"),
    ):
        answer = httpx2.post(second.url + client.path(client.model), json=client.body(client.model), headers=headers)
        assert said in client.play(answer)
        assert answer.headers["x-ailink-upstream"] == label
    upstream.assert_clean()


# --- the command line ------------------------------------------------------------------------------

MASTER = {"AILINK_MASTER_KEY": secrets.token_hex(32)}
ADMIN = {"AILINK_ADMIN_KEY": f"ailink_admin_{secrets.token_hex(20)}"}
# What is set; the setting that the refusal names.
REFUSED: list[tuple[dict[str, str], str]] = [
    ({}, "AILINK_MASTER_KEY"),
    ({"AILINK_MASTER_KEY": "0" * 64}, "AILINK_MASTER_KEY"),
    ({"AILINK_MASTER_KEY": "short"}, "AILINK_MASTER_KEY"),
    ({**MASTER, "AILINK_ADMIN_KEY": "ailink_admin_..."}, "AILINK_ADMIN_KEY"),
    ({**MASTER, "AILINK_ADMIN_KEY": "secret"}, "AILINK_ADMIN_KEY"),
    ({**MASTER, "AILINK_HOST": "0.0.0.0"}, "AILINK_ADMIN_KEY"),
    ({**MASTER, "AILINK_MASTER_KEY_FILE": "/nowhere"}, "AILINK_MASTER_KEY_FILE"),
    ({**MASTER, **ADMIN, "AILINK_CONFIG": "/nowhere.yaml"}, "/nowhere.yaml"),
    ({**MASTER, **ADMIN, "AILINK_ALLOW_UPSTREAMS": "everything"}, "AILINK_ALLOW_UPSTREAMS"),
    ({**MASTER, **ADMIN, "OPENAI_BASE_URL": "ftp://x"}, "OPENAI_BASE_URL"),
]


def test_settings_that_stop_the_start(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda case: run_ailink("serve", "--port", "0", cwd=tmp_path, **case[0]), REFUSED))
    for (settings, named), ended in zip(REFUSED, found, strict=True):
        assert ended.returncode == 2, (settings, ended.stdout)
        assert ended.stdout.startswith("ailink: ") and named in ended.stdout
        for value in settings.values():
            assert len(value) < 20 or value not in ended.stdout, "a secret is not repeated"
    assert not list(tmp_path.iterdir()), "nothing was made"


def test_what_stops_the_start_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "dev.json").write_text("{")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, code, says in (
            (("dev", "--data", "file/data"), 2, "data directory file/data cannot be used"),
            (("dev", "--data", "damaged"), 2, "dev.json is damaged"),
            (("dev", "--port", port), 1, f"port {port} of 127.0.0.1 cannot be listened on"),
        ):
            ended = run_ailink(*arguments, cwd=tmp_path)
            assert (ended.returncode, "Traceback" in ended.stdout) == (code, False), ended.stdout
            assert says in ended.stdout
    keys = {"AILINK_MASTER_KEY": secrets.token_hex(32), "AILINK_ADMIN_KEY": f"ailink_admin_{secrets.token_hex(20)}"}
    ended = run_ailink("serve", "--data", "file/data", cwd=tmp_path, **keys)
    assert (ended.returncode, "cannot be used" in ended.stdout) == (2, True), ended.stdout


def test_help_names_every_setting(tmp_path: Path) -> None:
    documented = Path(__file__).parents[2].joinpath("docs", "running.md").read_text()
    settings = re.findall(r"^\| `(AILINK_\w+)`", documented, re.MULTILINE)
    assert {"AILINK_MASTER_KEY", "AILINK_BODY_DAYS"} <= set(settings)
    for command in ("dev", "serve"):
        shown = run_ailink(command, "--help", cwd=tmp_path).stdout
        assert [name for name in settings if name not in shown] == []
        assert "OPENAI_API_KEY" in shown and "NAME_FILE" in shown
    commands = run_ailink("--help", cwd=tmp_path).stdout
    assert not re.search(r"[a-z]\.\.\.$", commands, re.MULTILINE), "nothing is cut short"


def test_db(tmp_path: Path) -> None:
    """Status makes nothing; upgrade makes the database, does no harm the second time, and none to a newer one."""
    kept = tmp_path / "kept"

    def db(command: str, code: int = 0) -> str:
        found = run_ailink("db", command, cwd=tmp_path, AILINK_DATA_DIR="kept")
        assert found.returncode == code, found.stdout
        return found.stdout

    assert "empty" in db("status")
    assert not kept.exists()
    assert re.search(r"was empty .*, now current", db("upgrade"))
    assert re.search(r"was current .*, now current", db("upgrade"))
    with closing(sqlite3.connect(kept / "ailink.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer (revision 9999" in db("status")
    assert "newer" in db("upgrade", code=2)
