"""What stands behind the ports. Each implementation is chosen in ``app`` and seen by stages only through ``ports``."""
