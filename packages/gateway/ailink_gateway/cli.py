"""The command line: `ailink dev`, `serve`, `db`, `audit`. Reads flags, prints for people, starts what `app` makes."""

import contextlib
import logging
import os
import resource
import secrets
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from ailink_gateway.settings import Settings, SettingsError, load, master_key
from ailink_gateway.tokens import ADMIN_PREFIX
from ailink_provider.errors import Failure

PROGRESS_ROWS = 100_000

_host = click.option("--host", help="Address to listen on [AILINK_HOST, default 127.0.0.1].")
_port = click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on [AILINK_PORT, default 8080].")
_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for database and journal [AILINK_DATA_DIR, default ./.ailink].",
)
_config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Config file [AILINK_CONFIG, default ailink.yaml if it is there].",
)


# \b keeps the lines that follow it as they are.
_ENVIRONMENT = """
\b
Environment (each secret also as NAME_FILE, the path of a file that holds it):
  AILINK_MASTER_KEY       64 hex characters; seals what is stored
  AILINK_ADMIN_KEY        starts with ailink_admin_; manages the gateway
  OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, OPENROUTER_API_KEY ...
                          makes that provider's models available
  OPENAI_BASE_URL, ANTHROPIC_BASE_URL, OLLAMA_BASE_URL ...
                          where a provider is reached instead
  AILINK_ALLOW_UPSTREAMS  CIDRs or host:port that may be private
  AILINK_TRUSTED_PROXIES  addresses whose X-Forwarded-For is believed
  AILINK_PUBLIC_URL       what links in notifications begin with
  AILINK_AUDIT_DAYS       how long audit rows are kept (for good)
  AILINK_BODY_DAYS        how long bodies are kept (30)
  AILINK_METRICS_OPEN     true: /metrics is shown to other machines, too
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ailink-gateway", prog_name="ailink")
def main() -> None:
    """AIlink: one gateway between AI agents and everything they call.

    Start with `ailink dev`; `ailink serve --help` lists what the environment may hold. Flags win over the environment,
    the environment over the config file.
    """


@main.command(epilog=_ENVIRONMENT, short_help="Run for development: no key needed.")
@_host
@_port
@_data
@_config
def dev(host: str | None, port: int | None, data: Path | None, config: Path | None) -> None:
    """Run for development: no key needed, loopback only, not for production.

    Makes and keeps an admin key, a master key and a token in the data directory, and answers models whose provider has
    no key with a simulator (X-AILink-Upstream: simulated).
    """
    settings = _settings("dev", host, port, data, config)
    kept = _Kept(settings.data_dir)
    import msgspec

    settings = msgspec.structs.replace(
        settings,
        admin_key=settings.admin_key or kept.secrets["admin_key"],
        master_key=settings.master_key or kept.secrets["master_key"],
    )
    _run(settings, kept)


@main.command(epilog=_ENVIRONMENT, short_help="Run for production.")
@_host
@_port
@_data
@_config
def serve(host: str | None, port: int | None, data: Path | None, config: Path | None) -> None:
    """Run for production: one process, SQLite in the data directory.

    Needs AILINK_MASTER_KEY (64 hex characters), and AILINK_ADMIN_KEY (starts with ailink_admin_) to be managed. Each
    secret can also be given as NAME_FILE. Put a TLS-terminating proxy in front of it.
    """
    _run(_settings("serve", host, port, data, config), None)


@main.group()
def db() -> None:
    """Look after the database. `serve` and `dev` upgrade it by themselves."""


@db.command()
@_data
def upgrade(data: Path | None) -> None:
    """Make the database, or bring an older one up to date."""
    store = _store(_data_dir(data))
    try:
        found = store.upgrade()
        click.echo(f"{store.path}: was {found}, now {store.status()}")
    except Failure as failure:
        _fail(failure.message)
    finally:
        store.close()


@db.command()
@_data
def status(data: Path | None) -> None:
    """Say which version the database has."""
    store = _store(_data_dir(data))
    try:
        click.echo(f"{store.path}: {store.status()}")
    except Failure as failure:
        _fail(failure.message)
    finally:
        store.close()


@main.group(short_help="Prove or export the audit.")
def audit() -> None:
    """Prove or export the audit of a data directory, whether or not a gateway runs on it."""


@audit.command()
@_data
def verify(data: Path | None) -> None:
    """Prove that no row was altered, removed or moved since it was written.

    Names the first that was, and exits with 1. Needs AILINK_MASTER_KEY, or a data directory of `ailink dev`.
    """
    from ailink_gateway.chain import NodeFile
    from ailink_gateway.control.verification import Verification

    store, key = _audited(data)
    try:
        verification = Verification(key, NodeFile(_data_dir(data)).last)
        told = PROGRESS_ROWS
        while store.look(verification.step):
            if verification.rows >= told:
                click.echo(f"{verification.rows} rows ...", err=True)
                told += PROGRESS_ROWS
    except Failure as failure:
        _fail(failure.message)
    finally:
        store.close()
    if verification.fault is not None:
        click.secho(f"NOT VALID after {verification.rows} rows: {verification.fault.message}", fg="red")
        sys.exit(1)
    click.echo(f"Valid: {verification.rows} rows in {verification.chains} chains; {verification.pruned} rows were "
               "removed because of their age.")  # fmt: skip


@audit.command()
@_data
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", help="As what [jsonl].")
@click.option("--output", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="Where to [stdout].")
def export(data: Path | None, form: str, output: Any) -> None:
    """Write every row, oldest first. Needs no key."""
    from ailink_gateway.control.audit import EXPORT_BATCH, FORMATS, head
    from ailink_gateway.store.records import records_in_order

    store = _current_store(data)
    try:
        output.write(head(form))
        after = None
        while rows := store.look(records_in_order, after, EXPORT_BATCH, {}):
            output.write(FORMATS[form](rows))
            after = (rows[-1]["created_at"], rows[-1]["id"])
    finally:
        store.close()


class _Kept:
    """What `dev` made and keeps in its data directory, readable by its owner alone."""

    def __init__(self, data_dir: Path) -> None:
        import msgspec

        self._path = data_dir / "dev.json"
        try:
            if self._path.exists():
                self.secrets: dict[str, str] = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
            else:
                self.secrets = {"admin_key": ADMIN_PREFIX + secrets.token_hex(24), "master_key": secrets.token_hex(32)}
                self.keep()
        except OSError as error:
            _fail(_unusable(data_dir, error))
        except msgspec.DecodeError:
            _fail(f"{self._path} is damaged: put it back as it was, or give another data directory.")

    def keep(self) -> None:
        """Write the file."""
        import msgspec

        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self.secrets))


def _settings(mode: Any, host: str | None, port: int | None, data: Path | None, config: Path | None) -> Settings:
    try:
        return load(mode, os.environ, host=host, port=port, data=data, config=config)
    except SettingsError as error:
        _fail(str(error))


def _data_dir(data: Path | None) -> Path:
    return data or Path(os.environ.get("AILINK_DATA_DIR") or "./.ailink")


def _store(data_dir: Path) -> Any:
    from ailink_gateway.app import DATABASE
    from ailink_gateway.store.store import Store

    return Store(data_dir / DATABASE)


def _current_store(data: Path | None) -> Any:
    """Return the store of a data directory that has one, up to date."""
    store = _store(_data_dir(data))
    try:
        found = store.status()
    except Failure as failure:
        _fail(failure.message)
    if found.state != "current":
        _fail(f"{store.path}: {found}. Start the gateway once, or run `ailink db upgrade`.")
    return store


def _audited(data: Path | None) -> Any:
    """Return the store of a data directory, and the key that its audit is proved with."""
    from ailink_gateway.chain import ChainKey
    from ailink_gateway.control import find_root
    from ailink_gateway.vault import AUDIT_CHAIN, Vault

    store = _current_store(data)
    try:
        vault = Vault(bytes.fromhex(_master_key(_data_dir(data))))
        store.look(find_root, vault)
        return store, ChainKey(vault.derive(AUDIT_CHAIN))
    except Failure as failure:
        store.close()
        _fail(failure.message)


def _master_key(data_dir: Path) -> str:
    try:
        key = master_key(os.environ)
    except SettingsError as error:
        _fail(str(error))
    if key is None and (data_dir / "dev.json").exists():
        key = _Kept(data_dir).secrets["master_key"]
    if key is None:
        _fail("AILINK_MASTER_KEY is not set: the audit is proved with a key that it opens.")
    return key


def _run(settings: Settings, kept: _Kept | None) -> None:
    """Start the server and stay until it is stopped."""
    from ailink_gateway import observe
    from ailink_gateway.app import Gateway, prepare
    from ailink_gateway.backends.spool import SpoolBusy
    from ailink_gateway.server import server

    observe.configure(logging.WARNING if settings.mode == "dev" else logging.INFO)
    _raise_file_limit()
    try:
        store, vault, spool = prepare(settings)
        token = None
        if kept is not None:
            from ailink_gateway.app import development_token

            token = kept.secrets["token"] = development_token(store, vault, kept.secrets.get("token"))
            kept.keep()
    except (Failure, SpoolBusy) as error:
        _fail(str(error))
    except OSError as error:
        _fail(_unusable(settings.data_dir, error))
    gateway = Gateway(settings, store, vault, spool)
    running = server(
        gateway, settings.host, settings.port, lambda port: _announce(settings, port, token), gateway.closing
    )
    try:
        running.run()
    except SystemExit:  # uvicorn's way to say that the address could not be had; it has logged why
        at = f"port {settings.port} of {settings.host}"
        click.secho(f"ailink: {at} cannot be listened on: give another --port or --host.", err=True, fg="red")
        sys.exit(1)
    if not running.started:
        sys.exit(1)


def _unusable(data_dir: Path, error: OSError) -> str:
    return f"The data directory {data_dir} cannot be used ({error.strerror}): give another one with --data."


def _raise_file_limit() -> None:
    """Let this process open as many files as the system lets it: a call takes two, and many shells allow 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems name a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _announce(settings: Settings, port: int, token: str | None) -> None:
    """Print where the gateway is; in development also the keys and a call to paste."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{port}"
    if token is None:
        click.echo(f"AIlink is running at {url} (data in {settings.data_dir})")
        return
    keys = [name for name, setting in settings.providers.items() if setting.key or setting.base_url]
    if keys:
        served = f"Keys found for {', '.join(keys)}; every other model is simulated."
    else:
        served = "No provider key is set, so a simulator answers; OPENAI_API_KEY, ANTHROPIC_API_KEY ... change that."
    body = '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}'
    click.secho(
        "AIlink for development. NOT FOR PRODUCTION: any program here may call it; `ailink serve` is for that.",
        bold=True,
    )
    click.echo(f"""
  gateway    {url}        docs {url}/docs
  admin key  {settings.admin_key}
  token      {token}

{served}
Try it:

  curl {url}/v1/chat/completions -H "Authorization: Bearer {token}" \\
    -H "Content-Type: application/json" -d '{body}'
""")


def _fail(message: str) -> NoReturn:
    click.secho(f"ailink: {message}", err=True, fg="red")
    sys.exit(2)
