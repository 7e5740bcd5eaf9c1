"""Save and load the full model: one directory, safetensors and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.elias.kept_texts import KeptTexts
from learned_index.elias.parts import EliasParts
from learned_index.encoding import encoder_class, search_class
from learned_index.engine.search_engine import SearchEngine
from learned_index.errors import InputError, ModelFormatError
from learned_index.index.opening import open_index
from learned_index.inputs.numbers import whole_number
from learned_index.persistence import Manifest, Saved, load_arrays, save_arrays, saved_kind
from learned_index.persistence.contents import require_layout, require_range
from learned_index.persistence.files import json_ready
from learned_index.ranking.calibration import Calibrator
from learned_index.ranking.combination import Combination
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.ranking.records import Records
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.system.extras import require
from learned_index.types import Encoder

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex

_COUNTS = "counts.safetensors"


def index_directory(model: Path | str, number: int = 0) -> Path:
    """Return where the index of a saved model's member lies."""
    return Path(model) / f"member_{number}" / "index"


def _encoder_directory(model: Path, number: int, *, own: bool) -> Path:
    """Where an encoder lies: beside the index of its member, or the one of all beside them."""
    return (model / f"member_{number}" if own else model) / "encoder"


def write_model(model: EliasParts, folder: Path) -> dict[str, Any]:
    """Write the parts of a model, and return the rest of it for the manifest (JSON-able)."""
    for number, member in enumerate(model.members):
        member.save_pretrained(index_directory(folder, number))
    for number, encoder in enumerate(model.encoders):
        _save_encoder(encoder, _encoder_directory(folder, number, own=model.has_own_encoders))
    # Features that served the clustering alone are not needed for search.
    features = None if model.ranker_ is None else model.features
    if features is not None:
        _save_encoder(features, folder / "features")
    if model.ranker_ is not None:
        model.ranker_.save_pretrained(folder / "ranker")
    if model.final_ranker_ is not None:
        model.final_ranker_.save_pretrained(folder / "final_ranker")
    if model.records_ is not None:
        model.records_.save_pretrained(folder / "records")
    if model.calibrator_ is not None:
        model.calibrator_.save_pretrained(folder / "calibrator")
    if model.texts_ is not None:
        model.texts_.save_pretrained(folder / "texts")
    model.vocabulary.save(folder)
    if model.label_counts is not None:
        save_arrays(folder / _COUNTS, {"label_counts": model.label_counts.astype(np.int64)})
    # Times, and losses told by the clock, would make other bytes of equal trainings.
    report = {k: v for k, v in model.report_.items() if k not in ("seconds", "curves")}
    return {
        "model": model.config.to_dict(),
        "n_points": int(model.n_points),
        "n_indexed": int(model.n_indexed),
        "removed_labels": sorted(model.removed_labels),
        "merged_labels": [list(pair) for pair in sorted(model.merged_labels.items())],
        "n_members": len(model.members),
        "encoders": [encoder.kind for encoder in model.encoders],
        "features": None if features is None else features.kind,
        "has_ranker": model.ranker_ is not None,
        "has_final_ranker": model.final_ranker_ is not None,
        "has_records": model.records_ is not None,
        "has_calibrator": model.calibrator_ is not None,
        "has_texts": model.texts_ is not None,
        "combination": model.combination.to_dict(),
        "report": json_ready(report),
    }


def _save_encoder(encoder: Encoder, folder: Path) -> None:
    folder.mkdir(parents=True)
    encoder.save_pretrained(folder)


def require_packages(manifest: Manifest) -> None:
    """Refuse a saved model that needs a package which is not installed, before it is loaded.

    Raises:
        MissingExtraError: It does; names the pip command.
    """
    if saved_kind(index_directory(manifest.directory)) != SearchEngine.kind:
        require("torch")
    for kind in manifest.config["encoders"]:
        search_class(kind)


def read_members(
    manifest: Manifest,
) -> tuple[list[Encoder], list[LearnedGraphIndex | SearchEngine], EliasConfig]:
    """Read encoders (one, or one for each member), members and configuration of a saved model."""
    directory, config = manifest.directory, manifest.config
    own = len(config["encoders"]) > 1
    if not config["encoders"] or (own and len(config["encoders"]) != config["n_members"]):
        raise ModelFormatError(f"{directory}: encoders and members do not fit; copy it again")
    members = [
        open_index(index_directory(directory, number), verify=False)
        for number in range(whole_number(config["n_members"], "n_members"))
    ]
    is_compiled = all(isinstance(member, SearchEngine) for member in members)
    find_class = search_class if is_compiled else encoder_class
    encoders = [
        _read_encoder(find_class(kind), _encoder_directory(directory, number, own=own))
        for number, kind in enumerate(config["encoders"])
    ]
    return encoders, members, _model_config(config["model"])


def _read_encoder(found: type[Encoder], directory: Path) -> Encoder:
    """Read an encoder of a model whose manifest was checked, which names the encoder's files."""
    if issubclass(found, Saved):
        return cast("Encoder", found.from_pretrained(directory, verify=False))
    return found.from_pretrained(directory)  # another package's: the protocol has no ``verify``


def _model_config(values: Any) -> EliasConfig:
    """The configuration of a saved model; earlier versions learned the powers of p and q."""
    if isinstance(values, dict) and values.get("combination") in ("auto", "fixed", "learned"):
        values = {name: value for name, value in values.items() if name != "combination"}
        values["final_ranker"] = "fixed"
    return EliasConfig.from_dict(values)


def read_rest(model: EliasParts, manifest: Manifest) -> None:
    """Give a model that has its members ranker, calibrator, vocabulary and figures.

    Raises:
        InputError: The parts do not belong together.
    """
    directory, config = manifest.directory, manifest.config
    if config["features"] is not None:
        features = encoder_class(config["features"])
        model.features = _read_encoder(features, directory / "features")
    if config["has_ranker"]:
        model.ranker_ = SparseRanker.from_pretrained(directory / "ranker", verify=False)
        model.ranker_config = model.ranker_.config
    model.combination = Combination.from_dict(config["combination"])
    if config.get("has_final_ranker"):  # models of earlier versions have none
        model.final_ranker_ = FinalRanker.from_pretrained(directory / "final_ranker", verify=False)
    if config.get("has_records"):
        model.records_ = Records.from_pretrained(directory / "records", verify=False)
    if config["has_calibrator"]:
        model.calibrator_ = Calibrator.from_pretrained(directory / "calibrator", verify=False)
    if config.get("has_texts"):
        model.texts_ = KeptTexts.from_pretrained(directory / "texts", verify=False)
    model.vocabulary = LabelVocabulary.load(manifest.file(LabelVocabulary.FILE_NAME).parent)
    if _COUNTS in manifest.files:
        arrays = load_arrays(manifest.file(_COUNTS))
        require_layout(arrays, {"label_counts": (np.int64, (len(model.vocabulary),))})
        model.label_counts = arrays["label_counts"]
        require_range("label_counts", model.label_counts, 0, 1 << 62)
    model.n_points = whole_number(config["n_points"], "n_points", low=0)
    # Models of earlier versions do not say what the index was trained on.
    model.n_indexed = whole_number(config.get("n_indexed", model.n_points), "n_indexed", low=0)
    removed = config.get("removed_labels", [])  # models of earlier versions have lost none
    last = len(model.vocabulary) - 1
    model.removed_labels = frozenset(
        whole_number(label, "removed_labels", low=0, high=last) for label in removed
    )
    model.merged_labels = {
        whole_number(gone, "merged_labels", low=0, high=last): whole_number(
            kept, "merged_labels", low=0, high=last
        )
        for gone, kept in config.get("merged_labels", [])
    }
    model.report_ = dict(config["report"])
    check_parts(model)


def check_parts(model: EliasParts) -> None:
    """Raise :class:`InputError` where the parts of a model do not belong together."""
    n_labels = len(model.vocabulary)
    for number, member in enumerate(model.members):
        encoder = model.encoders[number if model.has_own_encoders else 0]
        if encoder.dim != member.dim:
            raise InputError(
                f"the encoder makes {encoder.dim}-dimensional vectors, the index expects "
                f"{member.dim}; use the encoder that the index was trained with"
            )
        if member.n_labels != n_labels:
            raise InputError(
                f"the vocabulary names {n_labels} labels, the index has {member.n_labels}"
            )
    counts = model.label_counts
    if counts is not None and np.shape(counts) != (n_labels,):
        raise InputError(
            f"label_counts has the shape {np.shape(counts)}, expected one for each of the "
            f"{n_labels} labels"
        )
    ranker, features = model.ranker_, model.features
    if ranker is not None:
        if features is None or features.dim != ranker.n_features_:
            raise InputError("the ranker and the sparse features do not fit together")
        if ranker.n_labels != n_labels or ranker.dim_ != model.encoders[0].dim:
            raise InputError("the ranker is that of another model")
        if model.calibrator_ is not None and model.label_counts is None:
            raise InputError("a calibrated model knows the training points of its labels")
    if model.texts_ is not None:
        model.texts_.check(n_labels)
    _check_final_ranker(model)


def _check_final_ranker(model: EliasParts) -> None:
    """The final ranker reads the parts that its evidence comes from without looking twice."""
    n_labels, final, records = len(model.vocabulary), model.final_ranker_, model.records_
    if records is not None and (
        model.features is None
        or records.n_labels != n_labels
        or records.n_terms != model.features.dim
        or records.dim != model.encoders[0].dim
    ):
        raise InputError("the records are those of another model")
    if final is None:
        return
    if model.ranker_ is None or model.features is None or model.label_counts is None:
        raise InputError("the final ranker needs ranker, features and counts, which are missing")
    names = final.names
    if len(names.indptr) != n_labels + 1 or names.terms.max(initial=-1) >= model.features.dim:
        raise InputError("the final ranker is that of another model")
