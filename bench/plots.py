"""The page's pictures. Needs matplotlib, which only `make bench` installs."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

Line = tuple[Sequence[float], Sequence[float]]


def draw(
    place: Path,
    title: str,
    across: str,
    up: str,
    lines: Mapping[str, Line],
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> bool:
    """Draw lines into a PNG. Returns whether it could: without matplotlib the page has its tables only."""
    try:
        pyplot: Any = import_module("matplotlib.pyplot")
    except ImportError:
        return False
    figure, axes = pyplot.subplots(figsize=(7, 3.6), dpi=110)
    for name, (xs, ys) in lines.items():
        axes.plot(xs, ys, marker="o", markersize=4, linewidth=1.5, label=name)
    if log_x:
        axes.set_xscale("symlog" if any(0 in xs for xs, _ in lines.values()) else "log")
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, metadata={"Software": None})
    pyplot.close(figure)
    return True
