"""The row of the ablations that has no index: every label scored in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learned_index.reproduction.ablation import Ablation, Row

ONE_VS_ALL = "one-vs-all"


def one_vs_all(ablation: Ablation, *, epochs: int | None, rate: float | None) -> Row:
    """All labels scored in every step, the encoder trained along where the index trains it."""
    import copy
    import time

    import numpy as np

    from learned_index.baselines.ova import OneVsAll
    from learned_index.elias.points import take
    from learned_index.encoding import dense_vectors
    from learned_index.training.optimisers import encoder_groups
    from learned_index.training.sources import EncoderInputs

    data, configs = ablation.data, ablation.configs
    rows = np.flatnonzero(np.diff(ablation.kept_labels.indptr))
    labels = ablation.kept_labels[rows]
    training = configs.training.resolve_epochs(
        len(rows), trained="encoder" if ablation.trains_encoder else "index"
    )
    trained = (training.stage1_epochs or 0) + (training.stage2_epochs or 0)
    if ablation.trains_encoder:
        trained += training.warm_epochs or 0
    settings: dict[str, Any] = {
        "epochs": epochs or max(1, trained),
        "batch_size": training.batch_size,
        "learning_rate": rate or 0.03,
        "projection_learning_rate": training.projection_learning_rate,
        "weight_decay": training.weight_decay,
        "warmup": training.warmup_fraction,
        "projection": configs.index.projection,
        "centroid_scale": training.label_init_scale,
        "initial_bias": float(np.log(labels.nnz / (labels.shape[0] * labels.shape[1]))),
        "dropout": training.dropout,
        "seed": training.seed,
    }

    def run() -> tuple[Any, float, dict[str, Any]]:
        model = OneVsAll(**settings)
        start = time.perf_counter()
        if ablation.trains_encoder:
            encoder = copy.deepcopy(ablation.encoder)
            groups, _ = encoder_groups(
                encoder,  # type: ignore[arg-type]
                learning_rate=training.encoder_learning_rate,
                weight_decay=training.encoder_weight_decay,
            )
            texts: Any = take(data.points, rows)
            points = EncoderInputs(encoder, texts, precision=training.precision)
            model.fit_end_to_end(points, labels, encoder_groups=groups)
            seconds = time.perf_counter() - start
            queries: Any = dense_vectors(encoder, data.queries)
        else:
            model.build(data.vectors_ND[rows], labels)
            seconds = time.perf_counter() - start
            queries = np.asarray(data.query_vectors, dtype=np.float32)
        return model.search(queries, 100), seconds, {"epochs": settings["epochs"]}

    return ablation.external("build-up", ONE_VS_ALL, settings, run)
