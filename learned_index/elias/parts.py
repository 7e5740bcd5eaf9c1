"""The parts of a full model, and what is computed from several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import scipy.sparse as sp

from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.config import EliasConfig
from learned_index.elias.ensemble import Shortlist, merge
from learned_index.elias.kept_texts import KeptTexts
from learned_index.elias.points import Points
from learned_index.encoding import dense_vectors
from learned_index.engine.search_engine import SearchEngine
from learned_index.errors import InputError, NotFittedError
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.inputs.labels import relabelled
from learned_index.inputs.matrices import canonical_labels
from learned_index.inputs.numbers import whole_number
from learned_index.ranking.calibration import Calibrator
from learned_index.ranking.combination import Combination
from learned_index.ranking.config import RankerConfig
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.ranking.records import Records
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.types import Encoder, Float32Array, Int64Array, SearchResult

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex


class SearchOptions(TypedDict, total=False):
    """How the members search: keyword arguments of their ``search``."""

    beam_width: int | None
    shortlist_size: int | None
    allow: Any
    deny: Any


class EliasParts:
    """What :class:`~learned_index.ELIAS` consists of.

    What is done with a model takes its parts, so that it needs to know no other class.

    Args:
        encoder: Makes dense vectors.
        config: What the model consists of.
        index_config: Shape and constants of the indexes.
        training_config: How they, and the encoder, are trained.
        ranker_config: How the ranker is trained.
        features: Makes the sparse features of ranker and clustering; None: chosen by the points.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        config: EliasConfig,
        index_config: IndexConfig,
        training_config: TrainingConfig,
        ranker_config: RankerConfig,
        features: Encoder | None = None,
    ) -> None:
        self.config = config
        self.index_config = index_config
        self.training_config = training_config
        self.ranker_config = ranker_config
        self.encoder = encoder
        self.encoders: list[Encoder] = [encoder]
        self.features = features
        self.given_index: LearnedGraphIndex | None = None
        self.members: Sequence[LearnedGraphIndex | SearchEngine] = []
        self.ranker_: SparseRanker | None = None
        self.combination = Combination()
        self.records_: Records | None = None
        self.final_ranker_: FinalRanker | None = None
        self.calibrator_: Calibrator | None = None
        self.texts_: KeptTexts | None = None
        self.vocabulary = LabelVocabulary([])
        self.label_counts: Int64Array | None = None
        self.n_points = 0
        self.n_indexed = 0
        self.removed_labels: frozenset[int] = frozenset()
        self.merged_labels: dict[int, int] = {}
        self.report_: dict[str, Any] = {}

    @property
    def index(self) -> LearnedGraphIndex | SearchEngine:
        """The index of the first member, or its search engine in a compiled model."""
        self.require_fitted()
        return self.members[0]

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        return self.index.n_labels

    def at_most(self, k: int) -> int:
        """k, or as many labels as there are: what a search pads its rows with has no name."""
        return min(whole_number(k, "k"), self.n_labels)

    def merged(self, labels_NL: sp.csr_matrix) -> sp.csr_matrix:
        """Labels of points, those that became one with others under the ids of these.

        Args:
            labels_NL: Canonical CSR of ones; columns beyond the model's labels stay.
        """
        if not self.merged_labels:
            return labels_NL
        target_L = np.arange(labels_NL.shape[1])
        target_L[list(self.merged_labels)] = list(self.merged_labels.values())
        return canonical_labels(relabelled(labels_NL, target_L, labels_NL.shape[1]))

    @property
    def has_own_encoders(self) -> bool:
        """Whether each member has its own, trained encoder."""
        return len(self.encoders) > 1

    def require_fitted(self) -> None:
        """Raise :class:`NotFittedError` where there is no index yet."""
        if not self.members:
            raise NotFittedError(
                "the model is not trained; call fit(texts, labels) or from_pretrained(directory)"
            )

    def trained_members(self) -> list[LearnedGraphIndex]:
        """The indexes, which must not be engines.

        Raises:
            InputError: The model is compiled.
        """
        self.require_fitted()
        found = [member for member in self.members if not isinstance(member, SearchEngine)]
        if len(found) < len(self.members):
            raise InputError(
                "the model is compiled: its index is a search engine, which can be searched, gain "
                "and lose labels, and no more; use the model that it was compiled from"
            )
        return found

    def compiled_members(self) -> list[SearchEngine]:
        """The engines, which must not be indexes.

        Raises:
            InputError: The model is not compiled.
        """
        self.require_fitted()
        if len(self.engines()) < len(self.members):
            raise InputError("the model is not compiled, so it has no engines; call to_engine()")
        return self.engines()

    def engines(self) -> list[SearchEngine]:
        """The search engines of a compiled model; none of another one."""
        return [member for member in self.members if isinstance(member, SearchEngine)]

    def encode(self, texts: Points) -> list[Float32Array]:
        """Encode texts: float32 B x D, for each of :attr:`encoders`."""
        return [dense_vectors(encoder, texts) for encoder in self.encoders]

    def shortlist(
        self, vectors: Sequence[Any], width: int, **options: Unpack[SearchOptions]
    ) -> tuple[Shortlist, Shortlist]:
        """Search all members and average their probabilities.

        Args:
            vectors: B x D of each encoder.
            width: Labels wanted in the wide shortlist, at least ``rerank_size``.
            **options: How the members search; labels as ids or masks.

        Returns:
            The ``rerank_size`` labels that the ranker orders, and the wide shortlist. The first
            does not depend on ``width``; of one index without a ranker both are the wide one.
        """
        size = self.config.rerank_size
        if self.ranker_ is None and len(self.members) == 1:
            # Nothing orders them anew, and an engine looks at more clusters for more labels.
            size = width
        # Of an ensemble each member finds more: a label counts as 0 where it is not found.
        each = size if len(self.members) == 1 else 2 * size
        results = [
            member.search(vectors[min(number, len(vectors) - 1)], max(each, width), **options)
            for number, member in enumerate(self.members)
        ]
        if width <= size:
            head = merge(results, size)
            return head, head
        best = [SearchResult(r.ids[:, :each], r.scores[:, :each]) for r in results]
        return merge(best, size), merge(results, max(each, width))
