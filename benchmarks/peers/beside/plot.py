"""Draw docs/benchmarks-peers.svg from the JSON on standard input; its path is the only argument."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "tapio"  # the same figures give the same file
mpl.rcParams["font.size"] = 8

import matplotlib.pyplot as plt  # noqa: E402 - after the backend is chosen

PANELS = (
    ("ratio", "burst: x the raw limit", "raw limit"),
    ("cpu", "CPU per cluster, ms (watcher + workers + nats-server)", ""),
    ("p50", "steady changes: p50, ms", ""),
    ("p99", "steady changes: p99, ms", ""),
    ("restart", "restart when converged: ready after, s", ""),
)
COLOURS = ("#9aa0a6", "#d97706", "#93c5fd", "#3b82f6", "#1e3a8a", "#0f172a")


def main() -> None:
    entries = json.load(sys.stdin)
    settings = list(dict.fromkeys(entry["setting"] for entry in entries))
    subjects = list(dict.fromkeys(entry["subject"] for entry in entries))
    values = {(entry["setting"], entry["subject"]): entry for entry in entries}
    figure, axes = plt.subplots(len(PANELS), 1, figsize=(max(7, 1.6 * len(settings)), 12), layout="constrained")
    width = 0.8 / len(subjects)
    for axis, (what, title, base) in zip(axes, PANELS, strict=True):
        for index, subject in enumerate(subjects):
            heights = [values.get((setting, subject), {}).get(what) or 0 for setting in settings]
            places = [number + index * width for number in range(len(settings))]
            bars = axis.bar(places, heights, width, label=subject, color=COLOURS[index % len(COLOURS)])
            axis.bar_label(bars, [f"{height:.3g}" if height else "" for height in heights], fontsize=6)
        if base:
            axis.axhline(1, color="#6b7280", linewidth=0.8)
        axis.set_title(title, loc="left")
        axis.set_xticks([number + 0.4 - width / 2 for number in range(len(settings))], settings)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(ncols=len(subjects), fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.35))
    figure.savefig(sys.argv[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
