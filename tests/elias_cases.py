"""Small full models, shared by the tests of ELIAS."""

from __future__ import annotations

from conftest import tiny_dataset

from learned_index import IndexConfig, TrainingConfig
from learned_index.data import Dataset
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.types import Encoder

QUICK = TrainingConfig(seed=3, batch_size=32, stage1_epochs=2, stage2_epochs=2, warm_epochs=1)
N_POINTS = 300
INDEX_ALONE = EliasConfig(
    calibration="none", validation_fraction=0.0, train_encoder="no", clustering_features="none"
)
"""With ``ranker="none"``: an encoder before an index, and nothing else."""


def train_data() -> Dataset:
    return tiny_dataset("train", N_POINTS, seed=0)


def queries(n: int = 40) -> list[str]:
    return list(tiny_dataset("test", n, seed=2).texts or [])


def new_model(encoder: Encoder | None = None, **config) -> ELIAS:
    settings = {"validation_fraction": 0.1, "rerank_size": 12, **config}
    return ELIAS(
        encoder or LSAEncoder(dim=16),
        IndexConfig(n_clusters=6),
        training=QUICK,
        config=EliasConfig.from_dict(settings),
    )


def fitted(encoder: Encoder | None = None, *, fit: dict | None = None, **config) -> ELIAS:
    train = train_data()
    return new_model(encoder, **config).fit(
        train.texts, train.labels, vocabulary=train.vocabulary, **(fit or {})
    )


def without_ranker(
    encoder: Encoder | None = None,
    index: IndexConfig | None = None,
    *,
    training: TrainingConfig = QUICK,
    config: EliasConfig = INDEX_ALONE,
) -> ELIAS:
    """A model of encoder and index alone, not fitted."""
    return ELIAS(
        encoder or LSAEncoder(dim=16), index, training=training, ranker="none", config=config
    )
