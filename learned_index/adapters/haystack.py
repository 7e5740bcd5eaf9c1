"""A component of Haystack: a query in, its labels as documents."""

from __future__ import annotations

from typing import Any

from learned_index.adapters.retrieval import (
    ModelOrPath,
    found_labels,
    metadata,
    opened,
    path_of,
)
from learned_index.elias.model import ELIAS
from learned_index.elias.thresholds import Threshold
from learned_index.errors import InputError
from learned_index.system.extras import missing_extra

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ModuleNotFoundError as error:
    raise missing_extra(error, __name__) from error

_FILTERS = {"allow", "deny"}


@component
class LearnedIndexRetriever:
    """The labels of a query as Haystack's documents, best first.

    A document's ``content`` is the label's text, its ``id`` the key, its ``score`` that of the
    ranking. Its ``meta`` have ``key``, with calibration ``probability``, and ``description`` where
    the label has one. A pipeline that holds it can be written as YAML where the model is given by
    its path; it is read by :meth:`warm_up`, which a pipeline calls.

    Args:
        model: The path of a saved model, or a trained one.
        top_k: Labels wanted.
        threshold: Least probability (of a model without calibration: least ranking score), or
            ``"best"``; None: all.
        filters: ``{"allow": [...], "deny": [...]}``, names or keys of the only labels to find, and
            of labels not to find; both may be left out.

    Example:
        >>> LearnedIndexRetriever("my-model").run(query="sort a list", top_k=3)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: ModelOrPath,
        *,
        top_k: int = 10,
        threshold: Threshold | None = None,
        filters: dict[str, list[str]] | None = None,
    ) -> None:
        self.model = model
        self.top_k = top_k
        self.threshold = threshold
        self.filters = _checked(filters)
        self._opened: ELIAS | None = None

    def warm_up(self) -> None:
        """Read the model, once."""
        if self._opened is None:
            self._opened = opened(self.model)

    def to_dict(self) -> dict[str, Any]:
        """What a saved pipeline holds of it.

        Raises:
            InputError: The model was given as an object.
        """
        written: dict[str, Any] = default_to_dict(
            self,
            model=path_of(self.model),
            top_k=self.top_k,
            threshold=self.threshold,
            filters=self.filters,
        )
        return written

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LearnedIndexRetriever:
        """Make what :meth:`to_dict` wrote."""
        made: LearnedIndexRetriever = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(
        self,
        query: str,
        top_k: int | None = None,
        filters: dict[str, list[str]] | None = None,
    ) -> dict[str, list[Document]]:
        """Find the labels of a query.

        Args:
            query: A text.
            top_k: In the place of the component's.
            filters: Likewise.

        Returns:
            ``{"documents": [...]}``, best first.

        Raises:
            InputError: Unknown labels or filters.
        """
        self.warm_up()
        assert self._opened is not None
        chosen = self.filters if filters is None else _checked(filters)
        (answers,) = found_labels(
            self._opened,
            [query],
            k=self.top_k if top_k is None else top_k,
            threshold=self.threshold,
            allow=(chosen or {}).get("allow"),
            deny=(chosen or {}).get("deny"),
        )
        return {"documents": [_document(each) for each in answers]}


def _document(answer: dict[str, Any]) -> Document:
    meta = metadata(answer)
    score = meta.pop("score")
    return Document(id=answer["key"], content=answer["label"], meta=meta, score=score)


def _checked(filters: dict[str, list[str]] | None) -> dict[str, list[str]] | None:
    if filters is not None and not (isinstance(filters, dict) and set(filters) <= _FILTERS):
        raise InputError(
            f"filters are {filters!r:.80}, expected a dictionary with 'allow' or 'deny' and lists "
            "of labels"
        )
    return filters
