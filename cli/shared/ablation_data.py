"""The data of the ablations: points to train and to measure on, encoded once for all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from learned_index.cli.shared.common import progress_bar
from learned_index.cli.shared.sources import bind, encode_points, make_encoder, points_for
from learned_index.data import DataFolder, Dataset
from learned_index.data.holdout import choose_points
from learned_index.data.naming import renumbered
from learned_index.elias.model import ELIAS
from learned_index.elias.points import default_features, fit_encoder, take
from learned_index.elias.presets import ModelConfigs
from learned_index.errors import InputError
from learned_index.reproduction.shared_training import AblationData
from learned_index.types import Encoder

HOLDOUT_FRACTION = 0.1
HOLDOUT_LIMIT = 2000


def ablation_splits(
    folder: DataFolder, split: str, holdout: int | None, *, seed: int
) -> tuple[Dataset, Dataset, Dataset]:
    """The whole training split, the points to train on, and those to measure on."""
    whole = folder.read("train")
    if whole.texts is None and whole.ids is None:
        # Names that stored vectors are found by, also in a part of the split.
        whole = replace(whole, ids=[f"train {row}" for row in range(whole.n_points)])
    if split == "test":
        if "test" not in folder.splits:
            raise InputError(f"{folder.path} has no test split for --split test")
        return whole, whole, folder.read("test")
    if holdout is None and "dev" not in folder.splits:
        holdout = max(1, min(HOLDOUT_LIMIT, int(HOLDOUT_FRACTION * whole.n_points)))
    train, queries = choose_points(folder, whole, holdout, seed=seed)
    if queries is None or queries.n_points == 0:
        raise InputError(
            f"{folder.path} has no dev split, and no training point can be held out without taking "
            "a label its last one; use --split test"
        )
    return whole, train, queries


def encoded_data(
    spec: str,
    configs: ModelConfigs,
    train: Dataset,
    queries: Dataset,
    *,
    whole: Dataset | None = None,
    cache: str | None,
    quiet: bool,
) -> tuple[Encoder, AblationData]:
    """Fit the encoder on the points that are not held out, and encode once for all rows.

    ``whole`` is the training split where ``train`` is a part of it.
    """
    whole = train if whole is None else whole
    has_texts = train.texts is not None
    encoder = make_encoder(spec, has_texts=has_texts, seed=configs.training.seed)
    held = ELIAS(
        encoder, configs.index, training=configs.training, config=configs.model
    ).held_out_rows(train.labels)
    kept = np.setdiff1d(np.arange(train.n_points), held)
    points = points_for(encoder, train)
    with progress_bar(f"fitting {spec}", quiet=quiet):
        fit_encoder(encoder, take(points, kept), whole_split=points_for(encoder, whole))
    vectors = encode_points(encoder, points, what="encoding", cache=cache, quiet=quiet)
    if queries.split != "train":
        bind(encoder, queries)
    query_vectors = encode_points(
        encoder, points_for(encoder, queries), what="encoding queries", cache=cache, quiet=quiet
    )
    features = None
    if configs.model.clustering_features == "tfidf":
        with progress_bar("sparse features", quiet=quiet):
            maker = default_features(train.points)
            fit_encoder(maker, take(train.points, kept), whole_split=train.points)
            features = maker.encode(train.points)
    return encoder, AblationData(
        points=train.points,
        labels_NL=train.labels,
        vectors_ND=vectors,
        queries=queries.points,
        query_vectors=query_vectors,
        truth=renumbered(train.vocabulary, queries),
        features_NV=features,
    )
