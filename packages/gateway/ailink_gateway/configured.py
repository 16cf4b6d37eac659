"""The providers of the config file, as upstreams: known services and compatible ones directly, all others through their
code.

A provider in code, registered by a package's ``ailink.providers`` entry point, is asked in this process; the gateway
sees no difference, as it answers where the transport would.
"""

from collections.abc import Iterable
from dataclasses import replace

from msgspec import structs

from ailink_gateway.backends.upstreams import at, upstream
from ailink_gateway.grant import Upstream
from ailink_provider.adapter import ProviderSender
from ailink_provider.auth import Fixed, Signed
from ailink_provider.builtin import open_access, providers
from ailink_provider.factory import CUSTOM, ProviderConfig, create
from ailink_provider.providers import Given, Provider
from ailink_provider.transport import Sender, Timeouts

# What stands for the address of a provider in code. It is never resolved: its sender opens no socket.
IN_PROCESS = "http://in-process/v1"


async def open_configured(configs: Iterable[ProviderConfig], sender: Sender) -> dict[str, Upstream]:
    """Return the enabled providers by name. Raises ``Failure`` for one that cannot be made."""
    enabled = [config for config in configs if config.enabled]
    return {config.name: _direct(config, sender) or await _in_process(config, sender) for config in enabled}


def _direct(config: ProviderConfig, sender: Sender) -> Upstream | None:
    row = providers().get(config.type)
    if row is None and config.type == CUSTOM and config.endpoint:
        row = Provider(name=config.name, needs_key=False)
    if row is None:
        return None
    own = row.name == config.name
    settings = {name: value for name, value in config.settings.items() if isinstance(value, str)}
    access = open_access(row, Given(config.api_key, config.endpoint, settings, sender))
    provider = structs.replace(
        row,
        name=config.name,
        base_url=access.base_url,
        families=row.families if own else (),
        hosts=(),
        default_model=config.model or row.default_model,
    )
    return at(provider, access, sender, config.api_key.encode())


async def _in_process(config: ProviderConfig, sender: Sender) -> Upstream:
    made = await create(replace(config, http_client=sender))
    provider = Provider(name=config.name, needs_key=False, default_model=config.model or None)
    # Its own code is to end a call in time, and to count that it had to; this is for code that does not.
    patience = 2 * config.timeout if config.timeout is not None else Timeouts().first_byte
    # Nothing is added to a call; what its code was given must not come back all the same.
    secrets = Fixed(Signed(secrets=[secret for secret in (config.api_key, *config.credentials.values()) if secret]))
    found = upstream(provider, IN_PROCESS, ProviderSender(made, patience), None, auth=secrets)
    return structs.replace(found, label=f"{config.type}:{config.name}")
