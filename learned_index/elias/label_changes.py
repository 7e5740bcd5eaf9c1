"""Labels of a trained model that go, become one, or get another name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from learned_index.data.naming import ids_of
from learned_index.elias.final_ranking import with_present_names
from learned_index.elias.parts import EliasParts
from learned_index.errors import InputError
from learned_index.inputs.labels import label_mask
from learned_index.inputs.merging import merge_shares, merge_targets
from learned_index.inputs.numbers import shown
from learned_index.ranking.evidence import without_names

AnyModel = TypeVar("AnyModel", bound=EliasParts)


def remove_labels(model: AnyModel, labels: Any) -> AnyModel:
    """See :meth:`ELIAS.remove_labels`."""
    model.require_fitted()
    labels = [labels] if isinstance(labels, str | int | np.integer) else labels
    removed_L = label_mask(ids_of(labels, model.vocabulary), model.n_labels, name="labels")
    twin = copy.copy(model)
    twin.members = [member.remove_labels(removed_L) for member in model.members]
    if model.records_ is not None:
        twin.records_ = model.records_.without_labels(removed_L)
    twin.removed_labels = model.removed_labels.union(np.flatnonzero(removed_L).tolist())
    _forget_names(twin)
    return twin


def _forget_names(twin: EliasParts) -> None:
    """Take the names of removed labels from the final ranker, which finds labels by them."""
    ranker = twin.final_ranker_
    if ranker is not None:
        gone_L = np.isin(np.arange(len(twin.vocabulary)), list(twin.removed_labels))
        alike = ranker.alike
        if alike is not None:
            alike = without_names(alike, gone_L)
        twin.final_ranker_ = ranker.with_names(without_names(ranker.names, gone_L), alike)


def rename_labels(model: AnyModel, names: Mapping[str, str] | Mapping[int, str]) -> AnyModel:
    """See :meth:`ELIAS.rename_labels`."""
    model.require_fitted()
    if not isinstance(names, Mapping):
        raise InputError(
            f"got {shown(names)} for new names, expected a dictionary: old name to new"
        )
    texts: dict[int, str] = {}
    for old, new in names.items():
        label = _id(model, old)
        if label in texts:
            raise InputError(f"label {old!r:.80} gets two names; give one")
        if not isinstance(new, str):
            raise InputError(f"the new name of {old!r:.80} is {shown(new)}, expected a string")
        texts[label] = new
    twin = copy.copy(model)
    twin.vocabulary = model.vocabulary.renamed(texts)
    ranker = model.final_ranker_
    if ranker is not None:
        twin.final_ranker_ = with_present_names(twin, ranker, list(texts))
    return twin


def merge_labels(model: AnyModel, targets: Mapping[str, str] | Mapping[int, int]) -> AnyModel:
    """See :meth:`ELIAS.merge_labels`."""
    model.require_fitted()
    if not isinstance(targets, Mapping):
        raise InputError(f"got {shown(targets)} to merge, expected {{label that goes: label}}")
    ids = {_id(model, gone): _id(model, kept) for gone, kept in targets.items()}
    require_present(model, [*ids, *ids.values()])
    target_L = merge_targets(ids, model.n_labels)
    shares_LL = merge_shares(target_L, model.label_counts)
    twin = copy.copy(model)
    twin.members = [
        member.merge_labels(ids, weights=model.label_counts) for member in model.members
    ]
    if model.ranker_ is not None:
        twin.ranker_ = model.ranker_.with_merged_labels(shares_LL)
    both_L: Any = 0  # records that have several of the labels that become one count once
    if model.records_ is not None:
        twin.records_ = model.records_.with_merged_labels(target_L)
        was_L = np.bincount(target_L, weights=model.records_.counts(), minlength=model.n_labels)
        both_L = was_L.astype(np.int64) - twin.records_.counts()
    if model.label_counts is not None:
        sums_L = np.bincount(target_L, weights=model.label_counts, minlength=model.n_labels)
        twin.label_counts = np.maximum(sums_L.astype(np.int64) - both_L, 0)
    twin.removed_labels = model.removed_labels.union(ids)
    earlier = {gone: ids.get(kept, kept) for gone, kept in model.merged_labels.items()}
    twin.merged_labels = earlier | ids
    _forget_names(twin)
    return twin


def _id(model: EliasParts, label: Any) -> int:
    return model.vocabulary.id(label) if isinstance(label, str) else int(label)


def require_present(model: EliasParts, labels: Any) -> None:
    """Refuse labels that were removed.

    Raises:
        InputError: One of them was.
    """
    gone = [int(label) for label in labels if int(label) in model.removed_labels]
    if gone:
        name = model.vocabulary.name(gone[0])
        raise InputError(
            f"the label {name!r:.80} was removed from this model; ask for labels that it still has"
        )
