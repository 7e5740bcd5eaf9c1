"""A model as a search model of MTEB, and a data folder as one of its retrieval tasks.

``mteb.evaluate(LabelSearch(model), tasks)`` measures the model on tasks whose documents are its
labels, beside whatever else MTEB can measure there.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from learned_index.adapters.retrieval import ModelOrPath, opened
from learned_index.data.dataset import Dataset
from learned_index.elias.model import ELIAS
from learned_index.elias.prediction import Score
from learned_index.errors import InputError
from learned_index.persistence import read_manifest
from learned_index.system.extras import require
from learned_index.types import Float32Array, Int64Array

logger = logging.getLogger(__name__)

Match = Literal["key", "text"]
_Ranked = tuple[Int64Array, Float32Array]
"""Labels of one query, the best first, and their scores."""
_PAGE = "https://pypi.org/project/learned-index/"


class LabelSearch:
    """MTEB's ``SearchProtocol`` over a model: the documents of a task are labels of the model.

    A document that is no label of the model cannot be found; a warning tells how many there are.
    Labels that are no document of the task are never answered.

    Args:
        model: The model, or the directory where it is saved.
        name: What MTEB's results call it, ``"organization/model"``; None: after the directory.
        match: What makes a document a label: its id, which is the label's key, or its text (the
            title where it has one), which is the label's name.
        score: What ranks, as in :meth:`ELIAS.search <learned_index.ELIAS.search>`.

    Raises:
        InputError: ``match`` is none of the two.
        ModelFormatError: The directory holds no model.
    """

    def __init__(
        self,
        model: ModelOrPath,
        *,
        name: str | None = None,
        match: Match = "key",
        score: Score = "ranking",
    ) -> None:
        if match not in ("key", "text"):
            raise InputError(f"match is {match!r:.80}, expected 'key' or 'text'")
        self.model = opened(model)
        if isinstance(model, ELIAS):
            # MTEB keeps results by name and revision: those of another model must not be taken.
            place, self._revision = "model", f"unsaved-{uuid.uuid4().hex}"
        else:
            manifest = read_manifest(model, kind=ELIAS.kind, verify=False)
            place, self._revision = Path(model).resolve().name, manifest.digest
        self.name = name or f"learned-index/{place}"
        self.match, self.score = match, score
        self._documents: dict[int, str] = {}

    @property
    def mteb_model_meta(self) -> Any:
        """What MTEB's results tell of the model (``mteb.models.ModelMeta``)."""
        return require("mteb.models.model_meta").ModelMeta(
            loader=None,
            name=self.name,
            revision=self._revision,
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=None,
            embed_dim=self.model.index.dim,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=[],
            reference=_PAGE,
            similarity_fn_name=None,
            use_instructions=False,
            training_datasets=None,
            model_type=["hybrid"],
        )

    def index(self, corpus: Any, **_: Any) -> None:
        """Find the labels among the documents of a task.

        Args:
            corpus: Rows with ``id`` and, for ``match="text"``, ``text`` and perhaps ``title``.
            _: What MTEB says of the task; not needed.

        Raises:
            InputError: No document is a label, or two are the same.
        """
        vocabulary = self.model.vocabulary
        names = vocabulary.keys if self.match == "key" else list(vocabulary)
        label_of = {name: label for label, name in enumerate(names)}
        for removed in self.model.removed_labels:
            label_of.pop(names[removed], None)
        documents: dict[int, str] = {}
        n_missing = 0
        for row in corpus:
            wanted = row["id"] if self.match == "key" else row.get("title") or row["text"]
            label = label_of.get(wanted.strip())
            if label is None:
                n_missing += 1
            elif label in documents:
                raise InputError(
                    f"the documents {documents[label]!r:.80} and {row['id']!r:.80} are both the "
                    f"label {names[label]!r:.80}; match='key' tells them apart"
                )
            else:
                documents[label] = row["id"]
        if not documents:
            raise InputError(
                f"none of the {n_missing} documents is a label of the model, such as "
                f"{names[0]!r:.80}; the documents of the task must be the model's labels "
                f"(match={self.match!r})"
            )
        if n_missing:
            logger.warning(
                "%d of %d documents are no labels of the model, and are never found",
                n_missing, n_missing + len(documents),
            )  # fmt: skip
        self._documents = documents

    def search(
        self,
        queries: Any,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Rank the documents for the queries of a task.

        Args:
            queries: Rows with ``id``, ``text`` and perhaps ``instruction``, which is put behind the
                text as MTEB does for other models.
            top_k: Documents of each query, at most.
            top_ranked: In tasks of reranking, the documents of each query that are scored.
            _: What MTEB says of the task; not needed.

        Returns:
            For each query's id the scores of documents by their ids.

        Raises:
            InputError: Nothing is indexed, or a query is a conversation.
        """
        if not self._documents:
            raise InputError("nothing is indexed; call index(corpus) first")
        ids, texts = [], []
        for row in queries:
            if not isinstance(row["text"], str):
                raise InputError("a query is a conversation; the model takes texts")
            ids.append(row["id"])
            texts.append(" ".join(filter(None, (row["text"], row.get("instruction")))))
        if top_ranked is None:
            found = self._searched(texts, top_k)
        else:
            found = self._scored(texts, [top_ranked.get(each, ()) for each in ids])
        return {
            query: _by_document(labels[:top_k], scores[:top_k], self._documents)
            for query, (labels, scores) in zip(ids, found, strict=True)
        }

    def _searched(self, texts: list[str], k: int) -> list[_Ranked]:
        allow = None
        if len(self._documents) < self.model.n_labels:
            allow = np.array(sorted(self._documents))
        k = min(k, len(self._documents))
        found = self.model.search(texts, k, score=self.score, allow=allow)
        return list(zip(found.ids, found.scores, strict=True))

    def _scored(self, texts: list[str], wanted: list[Sequence[str]]) -> list[_Ranked]:
        label_of = {document: label for label, document in self._documents.items()}
        labels = [
            np.array([label_of[each] for each in row if each in label_of], np.int64)
            for row in wanted
        ]
        scores = self.model.score(texts, [row.tolist() for row in labels], score=self.score)
        order = [np.argsort(-row, kind="stable") for row in scores]
        return [(a[o], b[o]) for a, b, o in zip(labels, scores, order, strict=True)]


def _by_document(
    labels: Int64Array, scores: Float32Array, documents: Mapping[int, str]
) -> dict[str, float]:
    """Scores that keep the order of the labels: MTEB orders equal ones by the documents' ids."""
    found: dict[str, float] = {}
    last = np.float32(np.inf)
    for label, score in zip(labels, scores, strict=True):
        if label < 0 or not np.isfinite(score):
            continue
        last = min(np.float32(score), np.nextafter(last, np.float32(-np.inf)))
        found[documents[int(label)]] = float(last)
    return found


def label_task(
    dataset: Dataset, name: str, *, languages: Sequence[str] = ("eng-Latn",)
) -> Any:  # an AbsTaskRetrieval, which is not imported here
    """A retrieval task of MTEB: texts are the queries, labels the documents, all relevant equally.

    Args:
        dataset: Points with texts and labels, such as a data folder's test split. Points without
            labels are left away.
        name: What MTEB's results call it.
        languages: Of the texts, as MTEB writes them.

    Returns:
        The task, loaded (``mteb.abstasks.AbsTaskRetrieval``).

    Raises:
        InputError: There are no texts, or no point has a label.
        MissingExtraError: MTEB is not installed.
    """
    base: Any = require("mteb.abstasks.retrieval").AbsTaskRetrieval
    table = require("datasets", extra="mteb").Dataset
    rows = np.flatnonzero(np.diff(dataset.labels.indptr))
    if dataset.texts is None or not len(rows):
        raise InputError(f"the {dataset.split} split has no texts with labels to make a task of")
    keys, names = dataset.vocabulary.keys, list(dataset.vocabulary)
    texts = [dataset.texts[int(row)] for row in rows]
    split = {
        "corpus": table.from_list(
            [{"id": k, "title": "", "text": n} for k, n in zip(keys, names, strict=True)]
        ),
        "queries": table.from_list(
            [{"id": f"point-{row}", "text": t} for row, t in zip(rows, texts, strict=True)]
        ),
        "relevant_docs": {
            f"point-{row}": {keys[label]: 1 for label in dataset.labels[row].indices}
            for row in rows
        },
        "top_ranked": None,
    }
    about = require("mteb.abstasks.task_metadata").TaskMetadata(
        type="Retrieval",
        name=name,
        description=f"Labels of texts: {len(rows)} texts, {len(keys)} labels.",
        dataset={"path": "local", "revision": uuid.uuid4().hex},
        eval_splits=["test"],
        eval_langs=list(languages),
        main_score="ndcg_at_5",
        modalities=["text"],
        category="t2t",
    )

    class LabelTask(base):  # type: ignore[misc]
        """The labels of texts as documents that are retrieved."""

        metadata = about

        def load_data(self, num_proc: int | None = None, **_: Any) -> None:
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    task = LabelTask()
    task.load_data()
    return task
