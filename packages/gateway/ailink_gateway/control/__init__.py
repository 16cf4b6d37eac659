"""The control plane: managing projects, credentials and tokens, and reading the audit, over HTTP and SQL.

One file a resource. It is never on the way of a model's call: it writes the store, and the data plane reads that.
"""

from ailink_gateway.control.broadcaster import Broadcaster
from ailink_gateway.control.keyring import find_root, rewrap, unlock
from ailink_gateway.control.ownership import misdirected, owned
from ailink_gateway.control.plane import create_control

__all__ = ["Broadcaster", "create_control", "find_root", "misdirected", "owned", "rewrap", "unlock"]
