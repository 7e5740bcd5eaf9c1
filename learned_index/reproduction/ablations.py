"""Tables of what parts and constants bring: build-up (3, 8), pruning (7), lambda and kappa (9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from learned_index.errors import InputError
from learned_index.evaluation.plots import plot_build_up, plot_sweep
from learned_index.metrics import metric_names
from learned_index.reproduction.ablation import Ablation
from learned_index.reproduction.results import Made, Row
from learned_index.reproduction.study import Study
from learned_index.training.events import TrainingEvent

N_MODELS = 3
"""Models of the ensemble."""
THRESHOLDS = (0.01, 0.05, 0.1, 0.25, 0.5)
EDGE_SHARES = (0.05, 0.1, 0.25, 0.5)
"""Parts of a cluster's edges that are kept."""
LAMBDAS = (0.01, 0.05, 0.5, 1.0, 3.0)
KAPPAS = (1.25, 2.5, 5.0, 10.0, 20.0)
"""Edges of a cluster, as multiples of L / C."""
SHOWN = ("P@1", "P@3", "P@5", "R@10", "R@100")
NESTED = ("metrics", "details", "error", "table")
"""Parts of a row that are told otherwise."""
PLOTTED = ("P@1", "P@5", "R@100")


def _ablation(study: Study) -> Ablation:
    """The ablation of the model's configuration, with everything that was measured before."""
    if study.encoder_spec is None:
        raise InputError(
            "with which encoder the model was trained is not known, as its report is gone; say "
            "so with --encoder"
        )
    encoder, data = study.ablation_data(study.encoder_spec, study.configs, study.train, study.test)

    def tell(what: str, event: TrainingEvent | None) -> None:
        done = "" if event is None else f", epoch {event.epoch + 1} of {event.n_epochs}"
        study.say(f"{what}{done}")

    return Ablation(
        data=data,
        encoder=encoder,
        configs=study.configs,
        directory=study.out / "kept" / "ablation",
        progress=tell,
    )


def table_3(study: Study) -> Made:
    """The build-up with its main columns."""
    return _build_up(study, SHOWN)


def table_8(study: Study) -> Made:
    """The build-up with all columns."""
    return _build_up(study, metric_names())


def _build_up(study: Study, columns: Sequence[str]) -> Made:
    found = _ablation(study).build_up(n_models=N_MODELS)

    def draw(rows: Sequence[Row], paths: Sequence[Path]) -> None:
        names = [row["row"] for row in rows]
        plot_build_up(names, _series(rows), *paths, title="What each part brings",
                      below=study.below)  # fmt: skip

    return _made(
        found,
        ("row", *columns, "seconds"),
        draw,
        "One training, measured after each stage; every row trains on the same points. Seconds are "
        "those of all training up to the row, encoding apart. Calibration and ensemble are ordered "
        "by the calibrated probability.",
    )


def table_7a(study: Study) -> Made:
    """Pruning by the weight of an edge."""
    found = _ablation(study).prune(thresholds=THRESHOLDS)
    return _pruned(study, found, "least weight of a kept edge")


def table_7b(study: Study) -> Made:
    """Pruning to the strongest edges of each cluster."""
    ablation = _ablation(study)
    width = int(ablation.train(keep=True).index.graph.edge_labels_CM.shape[1])
    kept = sorted({max(1, round(share * width)) for share in EDGE_SHARES})
    found = ablation.prune(top_ks=kept)
    return _pruned(study, found, f"edges kept of {width:,} of each cluster")


def _pruned(study: Study, found: list[Row], label: str) -> Made:
    for row in found:
        details = row["details"]
        if details:
            row["edges %"] = 100.0 * details["edges_share"]
            row["weight %"] = 100.0 * details["weight_share"]
            row["lost labels"] = details["n_unreachable"]
    return _made(
        found,
        ("row", "edges %", "weight %", "lost labels", *SHOWN),
        _sweep(study, label, "Pruning the learned edges"),
        "The learned index without ranker, nothing trained again; a label that would lose its last "
        "edge keeps its strongest one.",
    )


def table_9a(study: Study) -> Made:
    """Other weights of the shortlist loss."""
    found = _ablation(study).sweep_lambda(LAMBDAS)
    own = study.configs.training.shortlist_loss_weight
    return _made(
        found,
        ("row", *SHOWN, "seconds"),
        _sweep(study, "weight lambda of the shortlist loss", "Weight of the shortlist loss"),
        f"Both stages trained anew for each value, without ranker; the model has {own:g}, the "
        "paper 0.05.",
    )


def table_9b(study: Study) -> Made:
    """Other numbers of edges of a cluster."""
    found = _ablation(study).sweep_edges(KAPPAS)
    return _made(
        found,
        ("row", *SHOWN, "seconds"),
        _sweep(study, "edges M of a cluster, multiples of L / C", "Edges of a cluster"),
        "Both stages trained anew for each value, without ranker; M is the paper's kappa, 10 L / C "
        "the default.",
    )


def _sweep(study: Study, label: str, title: str) -> Callable[[Sequence[Row], Sequence[Path]], None]:
    def draw(rows: Sequence[Row], paths: Sequence[Path]) -> None:
        swept = [row for row in rows if row["value"] is not None]
        whole = [row for row in rows if row["value"] is None]
        if not swept:
            return
        values = [row["value"] for row in swept]
        reference = {name: whole[0][name] for name in PLOTTED} if whole else None
        plot_sweep(
            values,
            _series(swept),
            *paths,
            label=label,
            log=True,
            reference=reference,
            title=title,
            below=f"{study.below}\n{'Dashed: all edges. ' if whole else ''}One training each; the "
            "axes do not begin at zero.",
        )

    return draw


def _series(rows: Sequence[Row]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in PLOTTED}


def _made(
    found: Sequence[Row],
    columns: Sequence[str],
    draw: Callable[[Sequence[Row], Sequence[Path]], None],
    caption: str,
) -> Made:
    """What was measured, flat; rows that failed apart."""
    rows: list[Row] = []
    for row in found:
        if row["error"] is None:
            plain: dict[str, Any] = {k: v for k, v in row.items() if k not in NESTED}
            rows.append({**plain, **row["metrics"], **row["details"]})

    def picture(paths: Sequence[Path]) -> None:
        draw(rows, paths)

    return Made(
        rows=rows,
        columns=columns,
        draw=picture if rows else None,
        caption=f"Percent. {caption}",
        failed={row["row"]: row["error"] for row in found if row["error"] is not None},
    )
