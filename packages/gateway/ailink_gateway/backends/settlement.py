"""The journal that settles: what is written of a call is what the ledger counts, the same number in one step.

A call's record is its one exit, whatever happened to it, so this is where its hold ends, exactly once.
"""

from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.ports import Journal
from ailink_gateway.record import Opened, Record
from ailink_provider.errors import Failure


class SettlingJournal:
    """A journal in front of the real one."""

    def __init__(self, journal: Journal, ledger: MemoryLedger) -> None:
        self._journal, self._ledger = journal, ledger

    def open(self, opened: Opened) -> None:
        """Note that a call is about to be made, or made again with more held for it.

        Raises ``Failure``: as the journal does, or ``budget_exceeded`` if there is no room to hold more.
        """
        if opened.held_nano is not None:
            self._ledger.hold(opened.id, opened.held_nano)
        self._journal.open(opened)

    def close(self, record: Record) -> None:
        """Write the record of a call and settle it. One that cannot be written counts for what was held, as it will
        when it is found after a restart.
        """
        nano = record.cost_nano or 0
        try:
            self._journal.close(record)
        except (Failure, OSError):
            self._settle(record, None)
            raise
        self._settle(record, nano)

    def _settle(self, record: Record, nano: int | None) -> None:
        if record.project_id is not None:
            self._ledger.settle(record.id, record.token_id, record.project_id, record.created_at, nano)
