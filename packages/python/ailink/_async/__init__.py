"""The asynchronous client. ``_sync`` is made from ``_async`` by ``generate_sync.py``; edit ``_async`` only."""
