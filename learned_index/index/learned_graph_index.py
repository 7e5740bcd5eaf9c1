"""The learned index: a sparse weighted graph from clusters to labels, trained end to end."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.engine.tuning import Tuning, tune
from learned_index.index.build.deepening import build_hierarchy
from learned_index.index.build.partition import build_graph, build_partition
from learned_index.index.compiling import engine_parts
from learned_index.index.fit import fit_index
from learned_index.index.graph import ClusterLabelGraph, Keep
from learned_index.index.loss import IndexOutput, index_losses
from learned_index.index.network import IndexNetwork
from learned_index.index.new_labels import with_new_labels
from learned_index.index.pruning import prune_graph, with_merged_labels, without_labels
from learned_index.index.router import ClusterRouter
from learned_index.index.saving import read_into, saved_configs, write_index
from learned_index.index.search import score_index, search_index
from learned_index.index.updating import Labelled, with_new_points
from learned_index.inputs.filters import Filter
from learned_index.inputs.labels import LabelIds, Labels, label_mask
from learned_index.inputs.merging import merge_shares, merge_targets
from learned_index.inputs.new_labels import KnownPoints, NewLabels, checked_known
from learned_index.inputs.scored import ScoredLabels, Scores
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.persistence import Manifest, Saved
from learned_index.training.callbacks import Callback, announced
from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.events import Progress
from learned_index.types import DenseMatrix, Int64Array, SearchResult


class LearnedGraphIndex(IndexNetwork, Saved):
    """Search index over labels, learned from (vector, labels) examples.

    A query is scored against C clusters (in a deep index: against those that the best regions
    reach); the best W are explored along their M weighted edges to labels; the K labels with the
    best paths get the probability ``p = y_hat * sigmoid(w . x + b)``
    (Gupta et al., ELIAS, NeurIPS 2022, equations 1 to 8).

    Args:
        config: Shape and constants.
        training: How :meth:`fit` trains, and the loss weight that :meth:`forward` uses.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> centres = rng.normal(size=(50, 16)).astype(np.float32)
        >>> labels = [[i % 50] for i in range(2000)]
        >>> vectors = np.stack([centres[y[0]] + 0.1 * rng.normal(size=16) for y in labels])
        >>> index = LearnedGraphIndex().fit(vectors, labels)
        >>> ids, scores = index.search(centres[:3], k=1)
        >>> ids[:, 0].tolist()
        [0, 1, 2]
    """

    kind: ClassVar[str] = "learned-graph-index"

    # -- building -------------------------------------------------------------------------------

    def build_partition(
        self,
        embeddings: DenseMatrix,
        labels: Labels,
        *,
        clustering_features: sp.csr_matrix | None = None,
    ) -> Self:
        """Cluster the labels and make all parameters: the state at the start of stage 1.

        Args:
            embeddings: N x D.
            labels: CSR N x L, or N lists of label ids.
            clustering_features: Optional CSR N x V (tf-idf) joined with the embeddings for the
                clustering (the paper's psi).
        """
        build_partition(self, embeddings, labels, clustering_features=clustering_features)
        return self

    def build_graph(self, embeddings: DenseMatrix, labels: Labels) -> Self:
        """Replace the partition by learnable edges (initialisation of A, between the stages).

        Args:
            embeddings: N x D, the training points.
            labels: Their labels.
        """
        build_graph(self, embeddings, labels)
        return self

    def build_hierarchy(
        self, embeddings: DenseMatrix, *, epochs: int = 1, batch_size: int | None = None
    ) -> Self:
        """Make the index deep, or its regions anew: the rest stays as it is.

        Regions are cut from the clusters and trained to lead to the clusters that the index's own
        routing explores. That needs vectors without labels, and minutes where :meth:`fit` needs
        hours. ``hierarchy`` of the configuration becomes ``"deep"``.

        Args:
            embeddings: N x D, vectors like those of the queries.
            epochs: Over these vectors.
            batch_size: Default: that of the training configuration.

        Raises:
            InputError: Another dimension than the index's, NaN or infinity, no vectors.
        """
        self.require_fitted()
        build_hierarchy(self, embeddings, epochs=epochs, batch_size=batch_size)
        return self

    def fit(
        self,
        embeddings: DenseMatrix,
        labels: Labels,
        *,
        clustering_features: sp.csr_matrix | None = None,
        validation: tuple[DenseMatrix, sp.csr_matrix] | None = None,
        progress: Progress | None = None,
        callbacks: Sequence[Callback] | None = None,
        checkpoint: CheckpointOptions | None = None,
    ) -> Self:
        """Learn the index: cluster, stage 1, initialise the graph, stage 2.

        The same seed and thread count give a bit-equal index. Memory is a small multiple of the
        index and does not grow with N when ``embeddings`` are memory-mapped.

        Args:
            embeddings: N x D float16, float32 or float64 array (may be memory-mapped) or tensor.
            labels: CSR N x L of zeros and ones, N lists of label ids, or a dense indicator; see
                :func:`~learned_index.inputs.labels.as_label_matrix`. Points without labels are
                skipped.
            clustering_features: Optional CSR N x V, see :meth:`build_partition`.
            validation: Optional held-out (vectors, CSR labels); measured after each epoch and
                reported through ``progress``.
            progress: Called a few times a second with a
                :class:`~learned_index.training.events.TrainingEvent`.
            callbacks: As in :meth:`ELIAS.fit <learned_index.elias.model.ELIAS.fit>`.
            checkpoint: Where to save the state of the training, and to go on from.

        Raises:
            InputError: Shapes that do not fit, NaN or infinity, no labels, or a checkpoint of
                another training.
            TrainingInterrupted: ``checkpoint.stop`` asked for it; the state is saved.
        """
        asked = {"index": self.config.to_dict(), "training": self.training_config.to_dict()}
        with announced(callbacks, lambda: asked, progress=progress) as run:
            fit_index(
                self,
                embeddings,
                labels,
                clustering_features=clustering_features,
                validation=validation,
                progress=run.progress,
                checkpoint=checkpoint,
            )
        return self

    # -- losses ---------------------------------------------------------------------------------

    def forward(
        self,
        x_BD: torch.Tensor,
        positives: torch.Tensor | sp.csr_matrix | list[list[int]],
        *,
        row_optimiser: RowAdamW | RowGradients | None = None,
    ) -> IndexOutput:
        """Losses of a batch, for anyone's training loop.

        Gradients flow into ``x_BD`` (so an encoder can be trained), the projection, the clusters,
        the edges and the label classifiers.

        Args:
            x_BD: float32 vectors.
            positives: int64 B x P label ids padded with -1; or CSR B x L; or lists of ids; or a
                dense indicator, B x L.
            row_optimiser: Updates the label classifiers during the backward pass (RowAdamW, with
                Numba or Triton), or collects their gradients (RowGradients), instead of leaving
                them.

        Returns:
            The losses and the shortlist. The shortlist holds the beam's labels and, by teacher
            forcing, those of the cluster with the strongest edge to each positive.
        """
        return index_losses(self, x_BD, positives, row_optimiser=row_optimiser)

    # -- search ---------------------------------------------------------------------------------

    def search(
        self,
        queries: DenseMatrix,
        k: int = 10,
        *,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
        allow: Filter | None = None,
        deny: Filter | None = None,
    ) -> SearchResult:
        """Find the best k labels of each query.

        Answers do not depend on the batch size or the thread count
        (:func:`torch.get_num_threads`); several threads may search one index at once.

        Args:
            queries: B x D (or D) float16, float32 or float64 array or tensor, any memory order.
                A vector of zeros has no direction: it is answered by the labels' biases alone.
            k: Results per query; where fewer labels are reached, rows end in id -1, score -inf.
            beam_width: W; default from the configuration. More than C means all clusters.
            shortlist_size: K; default from the configuration.
            allow: Ids of the only labels to find, or a mask of L booleans; None: all. While a
                query finds fewer than k of them, its beam grows.
            deny: Ids of labels not to find, or a mask; wins over ``allow``. A filter costs a pass
                over all edges; a :class:`SearchEngine` filters faster. Both may be given for each
                query by itself, see :data:`~learned_index.inputs.filters.Filter`.

        Returns:
            ids int64 B x k and scores float32 B x k, best first. A score is ``y_hat^e sigmoid(z)``
            with the configuration's ``path_exponent`` e: the model's probability where e is 1.

        Raises:
            InputError: Another dimension than the index's, NaN, infinity or numbers beyond 1e15,
                a k that is no whole number of at least 1, labels that do not exist.
        """
        return search_index(
            self,
            queries,
            k,
            beam_width=beam_width,
            shortlist_size=shortlist_size,
            allow=allow,
            deny=deny,
        )

    def score(
        self, queries: DenseMatrix, labels: ScoredLabels, *, beam_width: int | None = None
    ) -> Scores:
        """Score labels for queries, also those that a search would not find.

        The score of a label is that of ``search(query, 1, allow=[label])``, bit for bit: its path
        from the beam's clusters and its classifier; where none of these leads to it, the beam
        doubles until one does. It depends on no other query and no other label. A label that
        :meth:`search` answers with this beam has the score that it has there.

        Args:
            queries: As :meth:`search`.
            labels: M ids for all queries, each once; an array B x M of ids, -1 at pads, as a search
                gives them; or for each query by itself, as filters are: a list of B lists, a
                boolean or a sparse matrix B x L (the labels of a row in ascending order).
            beam_width: W to begin with; default from the configuration.

        Returns:
            float32 B x M in the order of the labels, -inf at pads and where no edge leads to a
            label (it was removed or pruned). Of labels for each query by itself a list of B arrays.

        Raises:
            InputError: As :meth:`search`; labels that come twice for a query.
        """
        return score_index(self, queries, labels, beam_width=beam_width)

    def fixed_tree(self) -> Self:
        """The classic partition index: stage-1 clusters and router, the same label classifiers.

        Every label hangs from one cluster with weight 1 and is found only if that cluster is in
        the beam. The projection is shared, so only the search differs.
        """
        self.require_fitted()
        router = ClusterRouter(self.n_clusters, self.dim, scale=self.config.router_scale)
        router.weight_CD = nn.Parameter(self.tree_router_CD, requires_grad=False)
        cluster_L: Int64Array = self.cluster_of_label_L.cpu().numpy().astype(np.int64)
        graph = ClusterLabelGraph.from_partition(cluster_L, self.n_clusters)
        return self.clone(graph=graph.to(self.label_bias_L.device), router=router)

    def prune(
        self,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        keep: Keep = "reachable",
    ) -> Self:
        """A copy of the index with fewer edges; the edges it keeps weigh what they weighed.

        Fewer edges are a faster search and a smaller model. The copy's edges are no longer
        trained by :meth:`forward` (everything else is); :meth:`fit` and :meth:`build_graph` make
        new ones. What was dropped stands in its ``graph.pruning``.

        Args:
            threshold: Drop edges whose weight is below it, 0 to 1.
            top_k: Keep at most so many of the strongest edges of each cluster.
            keep: ``"reachable"``: a label that would lose its last edge keeps its strongest one,
                also beyond ``top_k``; ``"none"``: such labels are found no more.

        Raises:
            InputError: Neither is given, or one is out of range.
        """
        self.require_fitted()
        graph, _ = prune_graph(self.graph, threshold=threshold, top_k=top_k, keep=keep)
        return copy.deepcopy(self.clone(graph=graph))

    def add_labels(
        self, examples: NewLabels, *, known: KnownPoints, counts: Int64Array | None = None
    ) -> Self:
        """An index with M labels more; all else is shared with this one. No training.

        A new label gets the classifier that labels with such examples have, told from the known
        ones (equation 21 of docs/method.md), which takes a few steps beside the known points, and
        edges from the clusters that its examples visit, as strong as those of known labels with as
        many points (23b). Known labels keep ids, classifiers and edges. As after :meth:`prune`,
        edges are no longer trained by :meth:`forward`.

        Args:
            examples: For each new label the vectors of its examples, n x D, at least one.
            known: Points that the index knows labels by, some of what it was trained on (some
                for each label tell enough): vectors N x D, and their labels as for :meth:`fit`.
                Labels without a point there are left out.
            counts: int64, L. Training points of each label; None: as many as in ``known``.

        Returns:
            An index whose new labels have the ids L, L + 1, ... in the order given.

        Raises:
            InputError: No examples, vectors or labels that do not fit, no known label.
            NotFittedError: The index is not trained.

        Example:
            >>> grown = index.add_labels([new_vectors], known=(vectors, labels))  # doctest: +SKIP
        """
        return with_new_labels(self, examples, known, counts)

    def update(
        self,
        embeddings: DenseMatrix,
        labels: Labels,
        *,
        known: KnownPoints | None = None,
        counts: Int64Array | None = None,
    ) -> Self:
        """An index that has learned from new points, without a new training.

        Edges are added where the new points ask for them, and the label classifiers take a few
        steps (docs/method.md, equation 23). Clusters and projection are shared with this index,
        which answers as before. As after :meth:`prune`, edges are no longer trained by
        :meth:`forward`.

        Args:
            embeddings: N x D, the new points.
            labels: Their labels, of this index (:meth:`add_labels` first, where some are new).
            known: A sample of the points that the index was trained on, and their labels: it
                protects what was learned.
            counts: int64, L. Training points that each label had; None: as many as in ``known``.

        Raises:
            InputError: Vectors or labels that do not fit the index.
            NotFittedError: The index is not trained.
        """
        self.require_fitted()
        shape: Any = {"dim": self.dim, "n_labels": self.n_labels}
        new = Labelled(*checked_known((embeddings, labels), **shape))
        kept = None if known is None else Labelled(*checked_known(known, **shape))
        return with_new_points(self, new, kept, counts_L=counts)

    def remove_labels(self, labels: LabelIds) -> Self:
        """An index that never finds some labels; it shares all vectors with this one.

        Their edges go; all others weigh what they weighed, so that other labels keep their scores,
        and places in shortlists come free. Ids stay: an id that was removed is not given again.
        As after :meth:`prune`, edges are no longer trained by :meth:`forward`.

        Args:
            labels: Ids, or a mask of L booleans.

        Raises:
            InputError: Ids that do not exist.
            NotFittedError: The index is not trained.
        """
        self.require_fitted()
        removed_L = label_mask(labels, self.n_labels, name="labels")
        return self.clone(graph=without_labels(self.graph, removed_L))

    def merge_labels(
        self, targets: Mapping[int, int], *, weights: npt.ArrayLike | None = None
    ) -> Self:
        """An index in which some labels have become one with others, and are never found.

        The label that stays is reached by every path that led to one of them, with the larger
        weight, and its classifier is the weighted mean of theirs. Ids stay. As after
        :meth:`prune`, edges are no longer trained by :meth:`forward`.

        Args:
            targets: For each label that goes the one that it becomes; which stays itself.
            weights: L, how much each classifier counts, for instance its training points; None:
                all alike.

        Raises:
            InputError: Ids that do not exist, a target that goes itself, weights of another length
                or below 0.
            NotFittedError: The index is not trained.
        """
        self.require_fitted()
        target_L = merge_targets(targets, self.n_labels)
        shares_LL = merge_shares(target_L, weights)
        twin = self.clone(graph=with_merged_labels(self.graph, target_L))
        for name in ("label_weight_LD", "label_bias_L"):
            old = getattr(self, name).detach()
            mean = shares_LL @ old.cpu().numpy()
            setattr(
                twin, name, nn.Parameter(torch.tensor(mean, dtype=old.dtype, device=old.device))
            )
        return twin

    # -- search engine --------------------------------------------------------------------------

    def to_engine(self, config: EngineConfig | None = None) -> SearchEngine:
        """Lay the trained index out for search: smaller, many times faster, read-only.

        The engine answers as this index does, up to the rounding of its stored vectors; later
        training of the index does not change it. (``compile`` is torch's name for another thing.)

        Args:
            config: Precision of the vectors and default knobs.
        """
        self.require_fitted()
        return SearchEngine.from_parts(engine_parts(self), config)

    def tune(
        self,
        queries: DenseMatrix,
        truth: sp.csr_matrix | None = None,
        *,
        recall: float = 0.95,
        k: int = 100,
    ) -> Tuning:
        """Find the cheapest ``beam_width`` and ``shortlist_size`` that reach a recall.

        See :func:`learned_index.engine.tuning.tune`; ``search(..., **tuning.knobs)`` takes the
        knobs over.
        """
        self.require_fitted()
        return tune(self, queries, truth, recall=recall, k=k)

    # -- persistence ----------------------------------------------------------------------------

    def _require_complete(self) -> None:
        self.require_fitted()

    def _write(self, folder: Path) -> dict[str, Any]:
        return write_index(self, folder)

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        config, training = saved_configs(manifest)
        index = cls(config, training=training)
        read_into(index, manifest)
        return index.eval()
