"""The backend: a saved model, and which subject of the vocabulary each of its labels is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from annif.backend.backend import AnnifBackend
from annif.exception import ConfigurationException, NotInitializedException, NotSupportedException
from annif.suggestion import SubjectSuggestion, SuggestionBatch

from learned_index import ELIAS
from learned_index.errors import LearnedIndexError

if TYPE_CHECKING:
    from annif.corpus.types import Document, DocumentCorpus

SCORES = ("ranking", "probability", "index")


class LearnedIndexBackend(AnnifBackend):  # type: ignore[misc]
    """Suggest subjects by a model that ``li train`` or ``li compile`` has written.

    Parameters in the project's configuration:

    - ``model``: directory of the model; relative to where Annif is started
    - ``uri_prefix``: text before the keys of its labels, to make the vocabulary's URIs (none)
    - ``score``: ``ranking``, ``probability`` or ``index``
    - ``limit``: how many subjects are suggested at most (100)
    """

    name = "learned_index"
    DEFAULT_PARAMETERS = {"uri_prefix": "", "score": "ranking"}  # noqa: RUF012 - as Annif has it

    _model: ELIAS | None = None
    _subjects_L: npt.NDArray[np.int64] | None = None
    """Subject of each label; -1: the vocabulary has none."""

    @property
    def _manifest(self) -> Path:
        given = self.params.get("model")
        if not given:
            raise ConfigurationException(
                "model is not set; it is the directory of a saved model",
                project_id=self.project.project_id,
            )
        return Path(given) / "manifest.json"

    @property
    def is_trained(self) -> bool:
        """Whether the model is there."""
        return self._manifest.is_file()

    @property
    def modification_time(self) -> datetime | None:
        """When the model was written."""
        if not self.is_trained:
            return None
        return datetime.fromtimestamp(self._manifest.stat().st_mtime, tz=UTC)

    def initialize(self, parallel: bool = False) -> None:
        """Load the model once, and find its labels in the vocabulary."""
        if self._model is not None:
            return
        try:
            model = ELIAS.from_pretrained(self._manifest.parent)
        except LearnedIndexError as error:
            raise NotInitializedException(str(error), project_id=self.project.project_id) from error
        prefix, known = self.params["uri_prefix"], self.project.subjects
        found = [known.by_uri(prefix + key, warnings=False) for key in model.vocabulary.keys]
        self._subjects_L = np.array([-1 if each is None else each for each in found])
        n_missing = int((self._subjects_L < 0).sum())
        if n_missing == len(found):
            raise ConfigurationException(
                f"the vocabulary has none of the model's labels, such as "
                f"{prefix}{model.vocabulary.keys[0]}; set uri_prefix",
                project_id=self.project.project_id,
            )
        if n_missing:
            self.warning(f"{n_missing} of {len(found)} labels are not in the vocabulary")
        self._model = model

    def _suggest_batch(self, documents: list[Document], params: dict[str, Any]) -> SuggestionBatch:
        model, subjects_L = self._model, self._subjects_L
        assert model is not None and subjects_L is not None
        score = params["score"]
        if score not in SCORES:
            raise ConfigurationException(
                f"score is {score!r}, expected one of {', '.join(SCORES)}",
                project_id=self.project.project_id,
            )
        limit = int(params["limit"])
        # Labels that are no subjects take no places: the best `limit` of the others are asked for.
        allow = None if (subjects_L >= 0).all() else np.flatnonzero(subjects_L >= 0)
        found = model.search([each.text for each in documents], limit, score=score, allow=allow)
        suggested = [
            [
                SubjectSuggestion(int(subjects_L[label]), float(value))
                for label, value in zip(labels, scores, strict=True)
                if label >= 0
            ]
            for labels, scores in zip(found.ids, found.scores, strict=True)
        ]
        return SuggestionBatch.from_sequence(suggested, self.project.subjects, limit=limit)

    def _train(self, corpus: DocumentCorpus, params: dict[str, Any], jobs: int = 0) -> None:
        raise NotSupportedException(
            "models of learned-index are trained by `li train`; set model to what it writes"
        )
