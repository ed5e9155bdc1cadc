"""The figures that matter most, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PANELS = {
    "chat_64_rate": "whole chats a second, 64 connections",
    "get_64_rate": "relayed GETs a second, 64 connections",
    "pieces": "streamed pieces a second",
    "chat_1_p50_added": "microseconds added to a chat alone (less is better)",
}
OURS, OTHERS = "#c2410c", "#94a3b8"


def plot(medians: Mapping[str, Mapping[str, float]], path: Path, *, caption: str) -> None:
    """Write an SVG. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"  # text as text: a tenth of the size
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), layout="constrained")
    for axis, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        peers = [peer for peer in reversed(list(medians)) if medians[peer].get(name, 0) > 0 and peer != "no gateway"]
        if not peers:
            axis.set_visible(False)
            continue
        colours = [OURS if peer == "Lakehouse" else OTHERS for peer in peers]
        bars = axis.barh(peers, [medians[peer][name] for peer in peers], color=colours)
        axis.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
        axis.set_xscale("log")
        axis.margins(x=0.15)
        axis.set_title(title, fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(caption, fontsize=7)
    figure.savefig(path)
    plt.close(figure)
