"""The learned index: a sparse weighted graph from clusters to labels, trained end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.engine import EngineConfig, SearchEngine, Tuning, tune
from learned_index.errors import InputError, NotFittedError
from learned_index.graph.adjacency import ClusterLabelGraph
from learned_index.graph.config import IndexConfig, TrainingConfig
from learned_index.graph.forward import index_losses
from learned_index.graph.hierarchy import HierarchyShape, RegionHierarchy
from learned_index.graph.output import IndexOutput
from learned_index.graph.pruning import Keep
from learned_index.graph.router import ClusterRouter
from learned_index.kernels import RowAdamW, RowGradients
from learned_index.kernels.search import SearchArrays, search_cpu
from learned_index.training.batches import Labels, as_query_rows
from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.events import Progress
from learned_index.types import DenseMatrix, Float32Array, SearchResult


class LearnedGraphIndex(nn.Module):
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

    projection: nn.Linear | None
    router: ClusterRouter
    hierarchy: RegionHierarchy | None
    graph: ClusterLabelGraph
    label_weight_LD: nn.Parameter
    label_bias_L: nn.Parameter
    cluster_of_label_L: torch.Tensor
    tree_router_CD: torch.Tensor
    input_scale: torch.Tensor

    def __init__(
        self, config: IndexConfig | None = None, *, training: TrainingConfig | None = None
    ) -> None:
        super().__init__()
        self.config = config or IndexConfig()
        self.training_config = training or TrainingConfig()
        self._dim: int | None = None
        self._search_arrays: SearchArrays | None = None
        self._teacher: torch.Tensor | None = None

    # -- shape ----------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Dimension D of the vectors the index takes."""
        self._require_fitted()
        assert self._dim is not None
        return self._dim

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        self._require_fitted()
        return int(self.label_bias_L.shape[0])

    @property
    def n_clusters(self) -> int:
        """Number of clusters C."""
        self._require_fitted()
        return int(self.router.weight_CD.shape[0])

    @property
    def is_graph_learned(self) -> bool:
        """True once the edges are learned (stage 2); false while the partition is fixed."""
        self._require_fitted()
        return self.graph.edge_logits_CM is not None or self.graph.edge_weights_CM is not None

    def _require_fitted(self) -> None:
        if self._dim is None:
            raise NotFittedError(
                "the index has no labels yet; call fit(embeddings, labels), "
                "build_partition(embeddings, labels) or from_pretrained(directory) first"
            )

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._forget()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`torch.nn.Module.load_state_dict`."""
        self._forget()
        return super().load_state_dict(*arguments, **options)

    def _forget(self) -> None:
        """Drop what is derived from the parameters."""
        self._search_arrays = None
        self._teacher = None

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
        from learned_index.graph.building import build_partition

        build_partition(self, embeddings, labels, clustering_features=clustering_features)
        return self

    def build_graph(self, embeddings: DenseMatrix, labels: Labels) -> Self:
        """Replace the partition by learnable edges (initialisation of A, between the stages).

        Args:
            embeddings: N x D, the training points.
            labels: Their labels.
        """
        from learned_index.graph.building import build_graph

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
        from learned_index.graph.deepening import build_hierarchy

        self._require_fitted()
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
        checkpoint: CheckpointOptions | None = None,
    ) -> Self:
        """Learn the index: cluster, stage 1, initialise the graph, stage 2.

        The same seed and thread count give a bit-equal index. Memory is a small multiple of the
        index and does not grow with N when ``embeddings`` are memory-mapped.

        Args:
            embeddings: N x D float16, float32 or float64 array (may be memory-mapped) or tensor.
            labels: CSR N x L, or N lists of label ids. Points without labels are skipped.
            clustering_features: Optional CSR N x V, see :meth:`build_partition`.
            validation: Optional held-out (vectors, CSR labels); measured after each epoch and
                reported through ``progress``.
            progress: Called a few times a second with a
                :class:`~learned_index.training.TrainingEvent`.
            checkpoint: Where to save the state of the training, and to go on from.

        Raises:
            InputError: Shapes that do not fit, NaN or infinity, no labels, or a checkpoint of
                another training.
            TrainingInterrupted: ``checkpoint.stop`` asked for it; the state is saved.
        """
        from learned_index.graph.building import fit_index

        fit_index(
            self,
            embeddings,
            labels,
            clustering_features=clustering_features,
            validation=validation,
            progress=progress,
            checkpoint=checkpoint,
        )
        return self

    def allocate(
        self,
        *,
        dim: int,
        n_labels: int,
        n_clusters: int,
        hierarchy: HierarchyShape | None = None,
    ) -> None:
        """Make zero parameters of the given shape and a fixed graph (for loading and building)."""
        self._dim = dim
        self.hierarchy = None
        if hierarchy is not None:
            self.hierarchy = RegionHierarchy(
                n_clusters, dim, scale=self.config.region_scale, shape=hierarchy
            )
        self.projection = None
        if self.config.projection == "residual":
            # skip_init draws no random numbers: the caller's generator stays as it is.
            self.projection = nn.utils.skip_init(  # type: ignore[no-untyped-call]
                nn.Linear, dim, dim, bias=False
            )
            nn.init.zeros_(self.projection.weight)
        self.router = ClusterRouter(n_clusters, dim, scale=self.config.router_scale)
        self.label_weight_LD = nn.Parameter(torch.zeros(n_labels, dim))
        self.label_bias_L = nn.Parameter(torch.zeros(n_labels))
        # Buffers, not parameters: they hold the fixed tree and are never trained.
        self.register_buffer("cluster_of_label_L", torch.zeros(n_labels, dtype=torch.int32))
        self.register_buffer("tree_router_CD", torch.zeros(n_clusters, dim))
        # 1 / mean length of the training vectors: the first weights and the rates are for vectors
        # of about unit length.
        self.register_buffer("input_scale", torch.ones(()))
        self.graph = ClusterLabelGraph.from_partition(np.arange(n_labels) % n_clusters, n_clusters)

    # -- training -------------------------------------------------------------------------------

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
            positives: int64 B x P label ids padded with -1; or CSR B x L; or lists of ids.
            row_optimiser: Updates the label classifiers during the backward pass (RowAdamW, with
                Numba or Triton), or collects their gradients (RowGradients), instead of leaving
                them.

        Returns:
            The losses and the shortlist. The shortlist holds the beam's labels and, by teacher
            forcing, those of the cluster with the strongest edge to each positive.
        """
        self._require_fitted()
        self._search_arrays = None
        return index_losses(self, x_BD, positives, row_optimiser)

    def _project(self, x_BD: torch.Tensor) -> torch.Tensor:
        x_BD = x_BD * self.input_scale
        return x_BD if self.projection is None else x_BD + self.projection(x_BD)

    @torch.no_grad()
    def beam(
        self, x_BD: torch.Tensor, beam_width: int, *, implementation: str = "auto"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (float32 B x W) and numbers (int64 B x W) of the clusters to explore.

        Args:
            x_BD: float32, projected queries.
            beam_width: W.
            implementation: Of the kernels below a hierarchy: ``"auto"`` or ``"torch"``.

        Returns:
            Best first; -1 and 0 where the regions of a deep index reach fewer than W clusters.
        """
        if self.hierarchy is None:
            return self.router.beam(x_BD, beam_width)
        return self.hierarchy.beam(self.router, x_BD, beam_width, implementation=implementation)

    # -- search ---------------------------------------------------------------------------------

    def search(
        self,
        queries: DenseMatrix,
        k: int = 10,
        *,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
    ) -> SearchResult:
        """Find the best k labels of each query.

        Answers do not depend on the batch size or the thread count
        (:func:`torch.get_num_threads`); several threads may search one index at once.

        Args:
            queries: B x D (or D) float16, float32 or float64 array or tensor, any memory order.
            k: Results per query; where fewer labels are reached, rows end in id -1, score -inf.
            beam_width: W; default from the configuration. More than C means all clusters.
            shortlist_size: K; default from the configuration.

        Returns:
            ids int64 B x k and scores float32 B x k, best first. A score is ``y_hat^e sigmoid(z)``
            with the configuration's ``path_exponent`` e: the model's probability where e is 1.

        Raises:
            InputError: Another dimension than the index's, NaN or infinity, k < 1.
        """
        self._require_fitted()
        queries_BD = as_query_rows(queries, dim=self.dim)
        width = self.config.beam_width if beam_width is None else beam_width
        size = self.config.shortlist_size if shortlist_size is None else shortlist_size
        for name, value in (("k", k), ("beam_width", width), ("shortlist_size", size)):
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if self.label_bias_L.device.type != "cpu":
            from learned_index.graph.device_search import search_on_device

            return search_on_device(self, queries_BD, k, beam_width=width, shortlist_size=size)
        width = min(width, self.n_clusters)
        regions, candidates, share = 0, 0, 1.0
        if self.hierarchy is not None:
            regions, candidates = self.hierarchy.widths(width)
            share = self.hierarchy.coverage_at(candidates)
        ids, scores = search_cpu(
            queries_BD,
            self._arrays(),
            router_scale=share * self.config.router_scale,
            path_exponent=self.config.path_exponent,
            k=k,
            beam_width=width,
            shortlist_size=size,
            region_beam_width=regions,
            n_candidates=candidates,
            region_scale=self.config.region_scale,
        )
        return SearchResult(ids, scores)

    @torch.no_grad()
    def _arrays(self) -> SearchArrays:
        if self._search_arrays is None:
            projection = (
                np.empty((0, self.dim), np.float32)
                if self.projection is None
                else self.projection.weight.detach().numpy()
            )
            self._search_arrays = SearchArrays(
                projection,
                self.router.weight_CD.detach().numpy(),
                self.graph.edge_labels_CM.numpy(),
                np.ascontiguousarray(self.graph.weights().numpy()),
                self.label_weight_LD.detach().numpy(),
                self.label_bias_L.detach().numpy(),
                np.float32(self.input_scale.item()),
                *self._region_arrays(),
            )
        return self._search_arrays

    def _region_arrays(
        self,
    ) -> tuple[Float32Array, np.ndarray[Any, np.dtype[np.int32]], Float32Array]:
        hierarchy = self.hierarchy
        if hierarchy is None:
            empty = np.empty((0, self.dim), np.float32)
            return empty, np.empty((0, 1), np.int32), np.empty((0, 1), np.float32)
        return (
            hierarchy.region_RD,
            hierarchy.region_edge_clusters,
            hierarchy.region_edge_weights,
        )

    def label_classifiers(self) -> tuple[Float32Array, Float32Array]:
        """The vectors that the index ranks with: float32 (weights L x D, bias L)."""
        self._require_fitted()
        return (
            self.label_weight_LD.detach().cpu().numpy(),
            self.label_bias_L.detach().cpu().numpy(),
        )

    @torch.no_grad()
    def project(self, queries: DenseMatrix) -> Float32Array:
        """Queries as the label classifiers see them: ``x + P x`` of scaled x, float32 B x D."""
        rows = as_query_rows(queries, dim=self.dim)
        device = self.label_bias_L.device
        projected: Float32Array = self._project(torch.tensor(rows, device=device)).cpu().numpy()
        return projected

    def fixed_tree(self) -> LearnedGraphIndex:
        """The classic partition index: stage-1 clusters and router, the same label classifiers.

        Every label hangs from one cluster with weight 1 and is found only if that cluster is in
        the beam. The projection is shared, so only the search differs.
        """
        from learned_index.graph.tree import fixed_tree

        self._require_fitted()
        return fixed_tree(self)

    def prune(
        self,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        keep: Keep = "reachable",
    ) -> LearnedGraphIndex:
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
        from learned_index.graph.pruning import prune

        self._require_fitted()
        return prune(self, threshold=threshold, top_k=top_k, keep=keep)

    # -- search engine --------------------------------------------------------------------------

    def to_engine(self, config: EngineConfig | None = None) -> SearchEngine:
        """Lay the trained index out for search: smaller, many times faster, read-only.

        The engine answers as this index does, up to the rounding of its stored vectors; later
        training of the index does not change it. (``compile`` is torch's name for another thing.)

        Args:
            config: Precision of the vectors and default knobs.
        """
        from learned_index.graph.compiling import engine_parts

        self._require_fitted()
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

        Args:
            queries: N x D held-out vectors.
            truth: CSR N x L, their labels; None: recall of what an exhaustive search finds.
            recall: To be reached, as a share of the exhaustive search's, above 0 and at most 1.
            k: Depth.

        Returns:
            ``search(..., **tuning.knobs)`` takes the knobs over.

        Raises:
            InputError: No queries, a recall out of range, or a truth that does not fit.
        """
        self._require_fitted()
        return tune(self, queries, truth, recall=recall, k=k)

    # -- persistence ----------------------------------------------------------------------------

    def save_pretrained(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the index into a directory (safetensors and JSON, checksummed, atomic).

        Raises:
            InputError: The directory exists and is not empty, and ``overwrite`` is false.
        """
        from learned_index.graph.saving import save_index

        self._require_fitted()
        save_index(self, Path(directory), overwrite=overwrite)

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, verify: bool = True) -> LearnedGraphIndex:
        """Load what :meth:`save_pretrained` wrote; it answers the same, bit for bit.

        Args:
            directory: The saved index.
            verify: Check the files' checksums.

        Raises:
            ModelFormatError: Not a saved index, truncated, edited, or from a newer version.
        """
        from learned_index.graph.saving import load_index

        return load_index(Path(directory), verify=verify)
