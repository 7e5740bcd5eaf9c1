"""A retriever of LlamaIndex: a text in, its labels as nodes with scores."""

from __future__ import annotations

from typing import Any

from learned_index.adapters.retrieval import ModelOrPath, Names, found_labels, metadata, opened
from learned_index.elias.thresholds import Threshold
from learned_index.system.extras import missing_extra

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ModuleNotFoundError as error:
    raise missing_extra(error, __name__) from error


class LearnedIndexRetriever(BaseRetriever):  # type: ignore[misc]
    """The labels of a text as LlamaIndex's nodes, best first.

    A node's text is the label's, its ``node_id`` the key; its score is that of the ranking. Its
    metadata have ``key``, ``score``, with calibration ``probability``, and ``description`` where
    the label has one.

    Args:
        model: A trained model, or the path of a saved one.
        k: Labels wanted.
        threshold: Least probability (of a model without calibration: least ranking score), or
            ``"best"``; None: all k.
        allow: Names or keys of the only labels to find; None: all.
        deny: Names or keys of labels not to find; None: none.
        **kwargs: Of LlamaIndex's base class, such as ``callback_manager``.

    Example:
        >>> LearnedIndexRetriever("my-model", k=3).retrieve("sort a list")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: ModelOrPath,
        *,
        k: int = 10,
        threshold: Threshold | None = None,
        allow: Names = None,
        deny: Names = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = opened(model)
        self.k = k
        self.threshold = threshold
        self.allow = allow
        self.deny = deny

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        (answers,) = found_labels(
            self.model,
            [query_bundle.query_str],
            k=self.k,
            threshold=self.threshold,
            allow=self.allow,
            deny=self.deny,
        )
        return [
            NodeWithScore(
                node=TextNode(id_=each["key"], text=each["label"], metadata=metadata(each)),
                score=each["score"],
            )
            for each in answers
        ]
