"""Actions that note something down: tag puts a word on the record, log writes a line to the gateway's log."""

import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from ailink_gateway.policy.comparisons import text_of
from ailink_gateway.policy.compiled import Foresight, Rule, Verdict
from ailink_gateway.policy.shapes import Members, refuse, shown

if TYPE_CHECKING:
    from ailink_gateway.policy.run import Run

logger = logging.getLogger("ailink.policy")

MOST_TAGS = 20
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "warning": logging.WARNING,
          "error": logging.ERROR}  # fmt: skip


class Tag(Struct, frozen=True):
    """Puts ``key=value`` on the record of the call."""

    key: str
    value: str

    name = "tag"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        tags = run.exchange.tags
        if self.key in tags or len(tags) < MOST_TAGS:
            tags[self.key] = self.value
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return f"tag {self.key}={self.value}"


class Log(Struct, frozen=True):
    """Writes one line, without anything that the call carried."""

    level: int

    name = "log"
    rewrites = False
    reads_reply = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        exchange = run.exchange
        logger.log(self.level, "%s matched rules[%d] of the policy %r", exchange.id, rule.index, run.policy.name)
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return f"log at {logging.getLevelName(self.level).lower()}"


def read_tag(members: Members, phase: str) -> Tag:
    """Read ``tag{key, value}``."""
    key = members.text("key", most=64)
    value = text_of(members.take("value"))
    if value is None or not 0 < len(value) <= 128 or not value.isprintable() or not key.isprintable():
        refuse(members.at("value"), f"must be a text of 1 to 128 characters, or a number, not {shown(value)}")
    return Tag(key, value)


def read_log(members: Members, phase: str) -> Log:
    """Read ``log{level}``."""
    return Log(LEVELS[members.choice("level", LEVELS, "info")])
