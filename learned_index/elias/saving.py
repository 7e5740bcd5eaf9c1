"""Save and load the full model: one directory, safetensors and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.errors import InputError, ModelFormatError
from learned_index.index import LearnedGraphIndex
from learned_index.index.learned_graph_index import open_index
from learned_index.inputs.numbers import whole_number
from learned_index.persistence import (
    atomic_directory,
    read_manifest,
    reading_model,
    save_arrays,
    saved_kind,
    write_manifest,
)
from learned_index.ranking import Calibrator, Combination, SparseRanker
from learned_index.text_index import TextIndex, encoder_class, load_label_counts

if TYPE_CHECKING:
    from learned_index.elias.model import ELIAS

Model = TypeVar("Model", bound="ELIAS")
_COUNTS = "counts.safetensors"


def index_directory(model: Path | str) -> Path:
    """Return where the (first) index of a saved model lies, of either kind of model."""
    model = Path(model)
    return model / "index" if (model / "index").is_dir() else model / "member_0" / "index"


def save_model(model: ELIAS, directory: Path, *, overwrite: bool) -> None:
    """See :meth:`ELIAS.save_pretrained`."""
    report = {name: value for name, value in model.report_.items() if name != "seconds"}
    with atomic_directory(directory, overwrite=overwrite) as temporary:
        for number, member in enumerate(model.members):
            folder = temporary / f"member_{number}"
            folder.mkdir()
            member.save_pretrained(folder / "index")
            if model.has_own_encoders:
                _save_part(model.encoders[number], folder / "encoder")
        if not model.has_own_encoders:
            _save_part(model.encoder, temporary / "encoder")
        for part, name in (
            (model.features, "features"),
            (model.ranker_, "ranker"),
            (model.calibrator_, "calibrator"),
        ):
            if part is not None:
                _save_part(part, temporary / name)
        model.vocabulary.save(temporary)
        assert model.label_counts is not None
        save_arrays(temporary / _COUNTS, {"label_counts": model.label_counts.astype(np.int64)})
        write_manifest(
            temporary,
            kind=model.kind,
            config={
                "model": model.config.to_dict(),
                "n_points": int(model.n_points),
                "n_members": len(model.members),
                "encoders": [encoder.kind for encoder in model.encoders],
                "features": None if model.features is None else model.features.kind,
                "has_ranker": model.ranker_ is not None,
                "has_calibrator": model.calibrator_ is not None,
                "combination": model.combination.to_dict(),
                "report": _plain(report),
            },
        )


def _save_part(part: Any, folder: Path) -> None:
    folder.mkdir()
    part.save_pretrained(folder)


def _plain(value: Any) -> Any:
    """JSON-able, with null for numbers that do not exist."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def read_model(cls: type[Model], directory: Path) -> Model:
    """See :meth:`ELIAS.from_pretrained`."""
    manifest = read_manifest(directory, kind=cls.kind)
    with reading_model(directory, "model"):
        config = manifest.config
        own = len(config["encoders"]) > 1
        if not config["encoders"] or (own and len(config["encoders"]) != config["n_members"]):
            raise ModelFormatError(f"{directory}: encoders and members do not fit; copy it again")
        encoders = [
            encoder_class(kind).from_pretrained(
                directory / (f"member_{number}" if own else ".") / "encoder"
            )
            for number, kind in enumerate(config["encoders"])
        ]
        members = [
            open_index(directory / f"member_{n}" / "index", verify=False)
            for n in range(whole_number(config["n_members"], "n_members"))
        ]
        model = cls(
            encoders[0],
            members[0].config if isinstance(members[0], LearnedGraphIndex) else None,
            training=getattr(members[0], "training_config", None),
            config=EliasConfig.from_dict(config["model"]),
        )
        model.encoders, model.members = encoders, members
        if config["features"] is not None:
            model.features = encoder_class(config["features"]).from_pretrained(
                directory / "features"
            )
        if config["has_ranker"]:
            model.ranker_ = SparseRanker.from_pretrained(directory / "ranker", verify=False)
            model.ranker_config = model.ranker_.config
        model.combination = Combination.from_dict(config["combination"])
        if config["has_calibrator"]:
            model.calibrator_ = Calibrator.from_pretrained(directory / "calibrator", verify=False)
        model.vocabulary = LabelVocabulary.read(manifest.file(LabelVocabulary.FILE_NAME))
        model.label_counts = load_label_counts(manifest.file(_COUNTS), len(model.vocabulary))
        model.n_points = whole_number(config["n_points"], "n_points", low=0)
        model.report_ = dict(config["report"])
        _check_fit(model)
    return model


def _check_fit(model: ELIAS) -> None:
    """Raise :class:`InputError` where the parts of a model do not belong together."""
    n_labels = len(model.vocabulary)
    for number, member in enumerate(model.members):
        encoder = model.encoders[number if model.has_own_encoders else 0]
        if encoder.dim != member.dim:
            raise InputError(f"an encoder makes {encoder.dim} dimensions, its index {member.dim}")
        if member.n_labels != n_labels:
            raise InputError(f"an index has {member.n_labels} labels, the vocabulary {n_labels}")
    ranker, features = model.ranker_, model.features
    if ranker is not None:
        if features is None or features.dim != ranker.n_features_:
            raise InputError("the ranker and the sparse features do not fit together")
        if ranker.n_labels != n_labels or ranker.dim_ != model.encoders[0].dim:
            raise InputError("the ranker is that of another model")


def load_model(directory: Path | str) -> TextIndex | ELIAS:
    """Load a saved model of either kind: what ``li train-index`` or ``li train`` wrote.

    Raises:
        ModelFormatError: No such model, or truncated, edited or newer.
        MissingExtraError: The package that brings its encoder is not installed.
    """
    from learned_index.elias.model import ELIAS

    if saved_kind(directory) == ELIAS.kind:
        return ELIAS.from_pretrained(directory)
    return TextIndex.from_pretrained(directory)
