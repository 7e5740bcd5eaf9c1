"""Small full models, shared by the tests of ELIAS."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from cli_cases import files
from conftest import tiny_dataset

from learned_index import IndexConfig, TrainingConfig
from learned_index.data import Dataset
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.errors import ModelFormatError
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


def finally_ranked(method: str = "trees", **config) -> ELIAS:
    """A model with as many held-out points as a learned final ranker needs."""
    return fitted(validation_fraction=0.4, final_ranker=method, **config)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model with records on the disk, for modules whose processes open it."""
    path = tmp_path_factory.mktemp("compiled") / "model"
    fitted(records="yes").to_engine().save_pretrained(path)
    return path


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


INTERRUPTIONS = [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()]


def check_interrupted_save(
    model: ELIAS,
    part: str,
    interruption: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A save in which the writing of one part is interrupted leaves what was there, and no more."""
    target = tmp_path / "model"
    model.save_pretrained(target)
    before = files(target)

    def fail(*_args, **_kwargs) -> None:
        raise interruption

    method = "save" if part == "vocabulary" else "save_pretrained"
    monkeypatch.setattr(type(getattr(model, part)), method, fail)
    with pytest.raises(type(interruption)):
        model.save_pretrained(target, overwrite=True)
    with pytest.raises(type(interruption)):
        model.save_pretrained(tmp_path / "new")
    assert files(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def check_damaged_model(saved: Path, target: Path, name: str, damage: str) -> None:
    """A copy of a model in which a file, or a folder's largest one, is damaged is refused."""
    shutil.copytree(saved, target)
    path = target / name
    if path.is_dir():  # its largest file
        path = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        # In the manifest any flipped byte must be noticed where it matters: a size.
        files = content.index(b'"files": ') if name == "manifest.json" else 0
        middle = content.index(b'"bytes": ', files) + 9 if files else len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.unlink()
    with pytest.raises(ModelFormatError) as caught:
        ELIAS.from_pretrained(target)
    assert str(target) in str(caught.value)
