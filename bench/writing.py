"""How the page is written: tables, pictures, figures with their spread. Knows nothing of what is measured."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.plots import Line, draw

Found = Mapping[str, Any]
US = "µs"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; all columns but the first are figures."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def plain(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of words."""
    return table(head, rows).replace("---:", "---")


def bullets(texts: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {text}" for text in texts)


def join(*texts: str) -> str:
    """Return paragraphs; empty ones are left out."""
    return "\n\n".join(text for text in texts if text)


def spread(values: Sequence[float]) -> str:
    """Return a median and half of what lies between the rounds."""
    return f"{median(values):,.0f} ± {(max(values) - min(values)) / 2:,.0f}"


def missing(part: Found) -> str:
    """Return which peers are not in a part, and why."""
    rows = part.get("missing", [])
    return join("Not measured:", bullets(f"{row['name']}: {row['why']}" for row in rows)) if rows else ""


class Album:
    """Where the page's pictures go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def picture(self, name: str, title: str, axes: tuple[str, str], lines: Mapping[str, Line], **kind: bool) -> str:
        """Draw a picture and return what shows it; nothing if it cannot be drawn here."""
        across, up = axes
        if not draw(self._folder / f"{name}.png", title, across, up, lines, **kind):
            return ""
        return f"![{title}]({self._folder.name}/{name}.png)"
