"""Results as a picture: each figure as a share of its bar."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Check

__all__ = ["draw"]

_MET, _MISSED = "#2a9d5c", "#d1495b"
_WIDEST = 2.5


def draw(found: Mapping[str, Any], folder: Path) -> None:
    """Write ``latest.svg`` and ``latest.png`` into *folder*."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    # The same results give the same file.
    mpl.rcParams["svg.hashsalt"] = "django-mtdd"
    labels, shares, lows, highs = [], [], [], []
    for row in found["rows"]:
        for item in row["checks"]:
            check = Check(item["what"], item["by_round"], item["most"], item["least"], item["unit"])
            if (share := check.used) is None:
                continue
            ends = [Check("", [value], check.most, check.least).used for value in check.values]
            labels.append(f"{row['row']}  {row['title']}\n{check.what}")
            shares.append(share)
            lows.append(max(0.0, share - min(filter(None, ends), default=share)))
            highs.append(max(0.0, max(filter(None, ends), default=share) - share))
    figure, axes = plt.subplots(figsize=(10, 0.55 * len(labels) + 1.2))
    places = range(len(labels))
    colours = [_MET if share <= 1 else _MISSED for share in shares]
    axes.barh(places, shares, xerr=[lows, highs], color=colours, height=0.6, capsize=3)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(places, labels, fontsize=8)
    axes.invert_yaxis()
    # What misses its bar by far need not make all else small.
    axes.set_xlim(0, min(_WIDEST, 1.1 * max(1.0, *shares)))
    axes.set_xlabel("share of what is allowed: left of the line the bar is met")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(folder / "latest.svg", metadata={"Date": None})
    figure.savefig(folder / "latest.png", dpi=110)
    plt.close(figure)
