"""Logs: one JSON object a line on standard error, so that no message can forge another. They hold no call's content."""

import logging
import sys
import traceback
from datetime import UTC, datetime

from msgspec.json import encode

MESSAGE_LIMIT = 4000


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON; control characters are escaped by the encoding."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MESSAGE_LIMIT],
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            # Where it happened, and of what type: the words of an exception may quote what a client or an upstream
            # sent.
            line["error"] = type(error).__name__
            line["at"] = "; ".join(
                f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]
            )
        return encode(line).decode()


def configure(level: int = logging.INFO) -> None:
    """Send all logs of this process through ``JsonLines``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True
