"""The tables: every system, and each model less the best tuned peer with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.peers.data import METRICS
from benchmarks.peers.tuning import Row
from learned_index.evaluation.significance import PairedDifference, paired_bootstrap


def differences(
    model: Row, peers: Sequence[Row], *, n_resamples: int = 2000
) -> dict[str, dict[str, Any]]:
    """Compare a model with the peer that is best on the test points, metric by metric.

    To pick the best peer by the test points is to the advantage of the peers.

    Returns:
        By metric: ``peer``, ``difference``, ``low``, ``high`` in percent points, ``verdict``.
    """
    found = {}
    for metric in METRICS:
        best = max(peers, key=lambda row: row.means()[metric])
        ours, weights = model.of(metric)
        theirs, _ = best.of(metric)
        if 1 not in (len(ours), len(theirs)):
            n_runs = min(len(ours), len(theirs))
            ours, theirs = ours[:n_runs], theirs[:n_runs]
        result = paired_bootstrap(
            100.0 * ours, 100.0 * theirs, weights=weights, n_resamples=n_resamples
        )
        found[metric] = {"peer": best.name, **result._asdict(), "verdict": verdict(result)}
    return found


def verdict(result: PairedDifference) -> str:
    """Return ``"tie"`` where 0 is inside the interval, else ``"ahead"`` or ``"behind"``."""
    if result.is_tie:
        return "tie"
    return "ahead" if result.difference > 0 else "behind"


def markdown(
    peers: Sequence[Row], models: Sequence[Row], compared: dict[str, dict[str, Any]]
) -> str:
    """Return both tables."""
    lines = [
        f"| system | setting | {' | '.join(METRICS)} | runs | train s |",
        "|---" * (len(METRICS) + 4) + "|",
    ]
    for row in [*peers, *models]:
        means = row.means()
        cells = " | ".join(f"{means[metric]:.2f}" for metric in METRICS)
        seconds = row.facts.get("build_s")
        told = "—" if seconds is None else f"{seconds:.0f}"
        lines.append(f"| {row.name} | {row.setting} | {cells} | {len(row.values)} | {told} |")
    for name, metrics in compared.items():
        lines += [
            "",
            f"| {name} less the best peer | best peer | difference | 95 % interval | |",
            "|---|---|---|---|---|",
        ]
        for metric, found in metrics.items():
            interval = f"{found['low']:+.2f} to {found['high']:+.2f}"
            lines.append(
                f"| {metric} | {found['peer']} | {found['difference']:+.2f} | {interval} | "
                f"{found['verdict']} |"
            )
    return "\n".join(lines) + "\n"
