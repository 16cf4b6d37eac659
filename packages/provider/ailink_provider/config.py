"""Providers from a YAML file: ``load_config`` reads ``version`` and ``llm_providers``, and leaves the rest to others.

    version: "1.0"
    llm_providers:
      my_custom_provider:
        enabled: true
        display_name: "My Custom LLM"
        config: {model: "my-model-v1", endpoint: "https://api.myprovider.com/v1", max_tokens: 4096}
        credentials: {api_key: "${MY_PROVIDER_API_KEY}"}
        priority: 10
        weight: 0.5

``${NAME}`` and ``${NAME:-default}`` stand for variables of the environment, within values and never as syntax. Aliases,
anchors, tags, repeated keys and oversized files are refused. A message names file, line and key, never a value.
"""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert, field

from ailink_provider.builtin import providers
from ailink_provider.errors import Failure
from ailink_provider.factory import CUSTOM, ProviderConfig
from ailink_provider.providers import Provider as Row
from ailink_provider.transport import Origin
from ailink_provider.yaml_nodes import Node, read_yaml

SIZE_LIMIT = 1024 * 1024
_VERSIONS = ("1", "1.0")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^${}]*))?\}")
_PLACE = re.compile(r" - at `(?:key in )?\$\.?(.*?)`$")
_UNKNOWN = re.compile(r"unknown field `(.*?)`")
logger = logging.getLogger("ailink")


class _Settings(Struct):
    """What is known of ``config``; a factory finds the rest in ``ProviderConfig.settings``."""

    model: str = ""
    endpoint: str = ""
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    timeout: Annotated[float, Meta(gt=0)] | None = None


class _Entry(Struct, forbid_unknown_fields=True):
    """One of ``llm_providers``."""

    enabled: bool = True
    display_name: str = ""
    type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    credentials: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    weight: Annotated[float, Meta(ge=0)] = 1.0


def load_config(path: str | Path, environment: Mapping[str, str] | None = None) -> list[ProviderConfig]:
    """Return the providers that the file describes, in its order.

    Args:
        path: the file.
        environment: what variables stand for; None takes the process's own environment.

    A provider's type is what it says, else its key if a built-in provider has that name, else "custom", which speaks
    OpenAI's format. A built-in one is ``completed``. One that refers to a variable that is not set, or that needs a key
    or an address and has none, is disabled with a warning. Raises ``Failure`` (``invalid_request``) for a file that
    cannot be read or does not say what it should.
    """
    file = _File(Path(path), os.environ if environment is None else environment)
    return [file.provider(name, node) for name, node in file.providers().items()]


def completed(config: ProviderConfig, row: Row, environment: Mapping[str, str] | None = None) -> ProviderConfig:
    """Return ``config`` with what it lacks of a built-in provider: its key, made of the parts among the credentials or
    found in the environment, its address and its settings.

    ``environment`` None is the process's own. Raises ``Failure`` (``credential_missing``) for a file with a key that
    cannot be read.
    """
    variable = (os.environ if environment is None else environment).get

    def file(name: str) -> str | None:
        path = variable(name)
        try:
            return Path(path).read_text(encoding="utf-8") if path else None
        except (OSError, UnicodeDecodeError) as error:
            raise Failure("credential_missing", f"The file that {name} names cannot be read "
                                                f"({type(error).__name__}).", param=name) from None

    return replace(
        config, api_key=config.api_key or row.joined(config.credentials) or row.key_of(variable, file),
        endpoint=config.endpoint or variable(row.base_url_variable) or "",
        settings={**row.settings_of(variable), **config.settings},
    )


class _File:
    """One file being read."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path, self._environment = path, environment

    def providers(self) -> dict[str, Node]:
        """Return the nodes below ``llm_providers``."""
        root = self._mapping(read_yaml(self._text(), self._refusal), "")
        version = root.get("version")
        if version is not None and str(version.value) not in _VERSIONS:
            raise self._refusal(version.line, "version", 'only version "1.0" is known')
        found = root.get("llm_providers")
        return self._mapping(found, "llm_providers") if found is not None else {}

    def provider(self, name: str, node: Node) -> ProviderConfig:
        """Return what the node of one provider describes."""
        where = f"llm_providers.{name}"
        missing: list[str] = []
        members = self._mapping(node, where)
        entry = self._convert(self._plain(node, where, missing), _Entry, node, where)
        known = self._convert(entry.config, _Settings, members.get("config", node), f"{where}.config")
        self._check_credentials(entry.credentials, node, where)
        type = entry.type or (name if name in providers() else CUSTOM)
        if known.endpoint:
            self._check_endpoint(known.endpoint, _at(node, "config.endpoint"), f"{where}.config.endpoint")
        key = entry.credentials.pop("api_key", "")
        row = providers().get(type)
        try:
            config = ProviderConfig(
                name=name, type=type, api_key=key, model=known.model, endpoint=known.endpoint,
                priority=entry.priority, weight=entry.weight, display_name=entry.display_name,
                max_tokens=known.max_tokens, timeout=known.timeout, credentials=entry.credentials,
                settings={key: value for key, value in entry.config.items() if key not in _Settings.__struct_fields__},
            )
            if row is not None and entry.enabled:
                config = completed(config, row, self._environment)
        except Failure as failure:
            key = failure.param if failure.param in members else ""
            raise self._refusal(_at(node, key), f"{where}.{key}".rstrip("."), failure.message) from None
        if row is not None and not missing:
            missing += _lacking(row, config)
        if entry.enabled and missing:
            logger.warning("%s: %s is disabled: %s is not set", self._path, where, ", ".join(missing))
        return replace(config, enabled=entry.enabled and not missing)

    # --- what it takes ---------------------------------------------------------------------------

    def _text(self) -> str:
        try:
            with self._path.open("rb") as stream:
                data = stream.read(SIZE_LIMIT + 1)
            if len(data) > SIZE_LIMIT:
                raise self._refusal(0, "", f"the file is larger than {SIZE_LIMIT} bytes")
            return data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self._refusal(0, "", f"the file cannot be read ({type(error).__name__})") from None

    def _plain(self, node: Node, where: str, missing: list[str]) -> Any:
        """Return the node's value with variables filled in. Those that are not set are added to ``missing``, and what
        they stand in is left out."""
        value = node.value
        if isinstance(value, dict):
            inner = {key: self._plain(member, f"{where}.{key}", missing) for key, member in value.items()}
            return {key: member for key, member in inner.items() if member is not None}
        if isinstance(value, list):
            return [self._plain(member, f"{where}[{index}]", missing) for index, member in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            if "${" in _VARIABLE.sub("", value):
                raise self._refusal(node.line, where, "a variable is written ${NAME} or ${NAME:-default}")
            return self._filled(value, missing)
        return value

    def _filled(self, text: str, missing: list[str]) -> str | None:
        unset = [name for name, default in map(re.Match.groups, _VARIABLE.finditer(text))
                 if default is None and not self._environment.get(name)]
        missing += unset
        return None if unset else _VARIABLE.sub(lambda found: self._environment.get(found[1]) or found[2], text)

    def _mapping(self, node: Node, where: str) -> dict[str, Node]:
        if isinstance(node.value, dict):
            return node.value
        if node.value is None:
            return {}
        raise self._refusal(node.line, where, "a mapping of names to values is expected here")

    def _convert(self, tree: Any, kind: Any, node: Node, where: str) -> Any:
        try:
            return convert({} if tree is None else tree, kind, strict=False)
        except ValidationError as error:
            place, unknown = _PLACE.search(str(error)), _UNKNOWN.search(str(error))
            key = ".".join(found[1] for found in (place, unknown) if found)
            message = "this key is not known" if unknown else _PLACE.sub("", str(error)).replace("`", "'")
            raise self._refusal(_at(node, key), f"{where}.{key}".rstrip("."), message) from None

    def _check_credentials(self, credentials: dict[str, Any], node: Node, where: str) -> None:
        for key, value in credentials.items():
            if not isinstance(value, str):
                line = _at(node, f"credentials.{key}")
                raise self._refusal(line, f"{where}.credentials.{key}", "a text is expected: put it in quotes")

    def _check_endpoint(self, endpoint: str, line: int, where: str) -> None:
        try:
            Origin.parse(endpoint)
        except Failure as failure:
            raise self._refusal(line, where, failure.message) from None

    def _refusal(self, line: int, where: str, what: str) -> Failure:
        place = f"{self._path}, line {line}" if line else str(self._path)
        message = f"{place}: {where}: {what}" if where else f"{place}: {what}"
        return Failure("invalid_request", message if message.endswith(".") else f"{message}.", param=where or None)


def _lacking(row: Row, config: ProviderConfig) -> list[str]:
    """Return what a built-in provider cannot do without and has not."""
    key = [row.key_source or "credentials.api_key"] if row.needs_key and not config.api_key else []
    address = [row.base_url_variable or "config.endpoint"] if not (row.base_url or config.endpoint) else []
    return key + address


def _at(node: Node, key: str) -> int:
    """Return the line of the member at the dotted ``key`` below ``node``, or of the last one on the way to it."""
    for step in key.split("."):
        members = node.value if isinstance(node.value, dict) else {}
        if step not in members:
            break
        node = members[step]
    return node.line
