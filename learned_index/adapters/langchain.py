"""A retriever of LangChain: a text in, its labels as documents."""

from __future__ import annotations

from typing import Any

from learned_index.adapters.retrieval import ModelOrPath, Names, found_labels, metadata, opened
from learned_index.elias.model import ELIAS
from learned_index.system.extras import missing_extra

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict, PrivateAttr
except ModuleNotFoundError as error:
    raise missing_extra(error, __name__) from error


class LearnedIndexRetriever(BaseRetriever):  # type: ignore[misc]
    """The labels of a text as LangChain's documents, best first.

    A document's ``page_content`` is the label's text, its ``id`` the key, its ``metadata`` have
    ``key``, ``score`` (of the ranking), with calibration ``probability``, and ``description`` where
    the label has one. All arguments may be given for one call too: ``invoke(text, k=3)``.

    Args:
        model: A trained model, or the path of a saved one, which is read at once.
        k: Labels wanted.
        threshold: Least probability (of a model without calibration: least ranking score), or
            ``"best"``; None: all k.
        allow: Names or keys of the only labels to find; None: all.
        deny: Names or keys of labels not to find; None: none.

    Example:
        >>> LearnedIndexRetriever(model="my-model", k=3).invoke("sort a list")  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: Any
    k: int = 10
    threshold: float | str | None = None
    allow: list[str] | None = None
    deny: list[str] | None = None
    _opened: ELIAS = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Read the model."""
        super().model_post_init(context)
        given: ModelOrPath = self.model
        self._opened = opened(given)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        threshold: Any = None,
        allow: Names = None,
        deny: Names = None,
    ) -> list[Document]:
        (answers,) = found_labels(
            self._opened,
            [query],
            k=self.k if k is None else k,
            threshold=self.threshold if threshold is None else threshold,  # type: ignore[arg-type]
            allow=self.allow if allow is None else allow,
            deny=self.deny if deny is None else deny,
        )
        return [
            Document(id=each["key"], page_content=each["label"], metadata=metadata(each))
            for each in answers
        ]
