"""The network of a learned index: its parameters, the losses of a batch, scores of clusters."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from learned_index.errors import NotFittedError
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.hierarchy import HierarchyShape, RegionHierarchy
from learned_index.index.router import ClusterRouter
from learned_index.inputs.vectors import as_query_rows
from learned_index.kernels.machine.parallel import survive_forks
from learned_index.kernels.search import SearchArrays
from learned_index.types import DenseMatrix, Float32Array


class IndexNetwork(nn.Module):
    """Parameters of a learned index and what is computed from them in torch.

    What is done with a network takes one and returns parts, so that it needs to know no other
    class; :class:`~learned_index.LearnedGraphIndex` puts it together.

    Args:
        config: Shape and constants.
        training: The loss weight that :meth:`forward` uses, among others.

    Attributes:
        projection: Linear map P of the residual projection, or None.
        router: Scores of the clusters.
        hierarchy: Regions above the clusters; None in a flat index.
        graph: Edges from clusters to labels.
        label_weight_LD: float32 L x D label classifiers.
        label_bias_L: float32 L.
        cluster_of_label_L: int32 L, the tree of stage 1.
        tree_router_CD: float32 C x D, the router at the end of stage 1.
        input_scale: One over the mean length of the training vectors.
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
        survive_forks()
        self.config = IndexConfig.given(config)
        self.training_config = TrainingConfig.given(training)
        self._dim: int | None = None
        self._search_arrays: SearchArrays | None = None
        self._strongest_L: torch.Tensor | None = None

    # -- shape ----------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Dimension D of the vectors the index takes."""
        self.require_fitted()
        assert self._dim is not None
        return self._dim

    @property
    def n_labels(self) -> int:
        """Number of labels L."""
        self.require_fitted()
        return int(self.label_bias_L.shape[0])

    @property
    def n_clusters(self) -> int:
        """Number of clusters C."""
        self.require_fitted()
        return int(self.router.weight_CD.shape[0])

    @property
    def is_graph_learned(self) -> bool:
        """True once the edges are learned (stage 2); false while the partition is fixed."""
        self.require_fitted()
        return self.graph.edge_logits_CM is not None or self.graph.edge_weights_CM is not None

    def require_fitted(self) -> None:
        """Raise :class:`NotFittedError` where there are no parameters yet."""
        if self._dim is None:
            raise NotFittedError(
                "the index has no labels yet; call fit(embeddings, labels), "
                "build_partition(embeddings, labels) or from_pretrained(directory) first"
            )

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.parameters_changed()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`torch.nn.Module.load_state_dict`."""
        self.parameters_changed()
        return super().load_state_dict(*arguments, **options)

    # -- copies ---------------------------------------------------------------------------------

    def _own(self) -> dict[str, Any]:
        """The attributes without what is derived from the parameters."""
        return self.__dict__ | {"_search_arrays": None, "_strongest_L": None}

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: everything by value.

        :mod:`torch.multiprocessing` would move the parameters to other memory while they are sent,
        away from under a search that reads them at their addresses.
        """
        return {"pickled": pickle.dumps(self._own())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        survive_forks()
        # Whoever unpickles the index has decided to trust these bytes.
        super().__setstate__(pickle.loads(state["pickled"]))  # type: ignore[no-untyped-call]  # noqa: S301

    def __copy__(self) -> Self:
        """An index with the same parameters, which it shares."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self._own())
        # Of its own are the tables of what belongs to it, not the parameters: a part that is put
        # into the twin must not come into this one.
        for table in ("_parameters", "_buffers", "_modules"):
            twin.__dict__[table] = dict(self.__dict__[table])
        return twin

    def clone(self, *, graph: ClusterLabelGraph, router: ClusterRouter | None = None) -> Self:
        """An index with another graph, and another router if one is given: these lead to labels.

        It is flat where it gets a router: regions lead to the clusters of their own router only.
        All else, and so the parameters, is shared.
        """
        twin = copy.copy(self)
        twin.graph = graph
        if router is not None:
            twin.router, twin.hierarchy = router, None
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self._own(), memo))
        return twin

    def drop_search_arrays(self) -> None:
        """Make the arrays for the search anew when it is called next."""
        self._search_arrays = None

    def parameters_changed(self) -> None:
        """Drop what is derived from the parameters; whoever writes into them calls it."""
        self._search_arrays = None
        self._strongest_L = None

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
            # Of random numbers that are thrown away: the caller's generator stays as it is. torch's
            # skip_init goes through the meta device, which imports SymPy: most of a second.
            with torch.random.fork_rng(devices=[]):
                self.projection = nn.Linear(dim, dim, bias=False)
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

    # -- scores -----------------------------------------------------------------------

    def projected(self, x_BD: torch.Tensor) -> torch.Tensor:
        """``x + P x`` of scaled x, float32 B x D; differentiable."""
        x_BD = x_BD * self.input_scale
        return x_BD if self.projection is None else x_BD + self.projection(x_BD)

    @torch.no_grad()
    def beam(
        self, x_BD: torch.Tensor, beam_width: int, *, implementation: str = "auto"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and numbers of the clusters to explore, as :meth:`RegionHierarchy.beam`."""
        if self.hierarchy is None:
            return self.router.beam(x_BD, beam_width)
        return self.hierarchy.beam(self.router, x_BD, beam_width, implementation=implementation)

    @torch.no_grad()
    def strongest_clusters(self, edges_CM: torch.Tensor) -> torch.Tensor:
        """For each label the cluster with its strongest edge, int64 L: teacher forcing's beam.

        Args:
            edges_CM: ``graph.weights()``.
        """
        # Edges without logits are not trained, so their strongest ones stay.
        if self._strongest_L is None or self.graph.edge_logits_CM is not None:
            self._strongest_L = self.graph.strongest_cluster(edges_CM)
        return self._strongest_L.to(edges_CM.device)

    def label_classifiers(self) -> tuple[Float32Array, Float32Array]:
        """The vectors that the index ranks with: float32 (weights L x D, bias L)."""
        self.require_fitted()
        return (
            self.label_weight_LD.detach().cpu().numpy(),
            self.label_bias_L.detach().cpu().numpy(),
        )

    @torch.no_grad()
    def project(self, queries: DenseMatrix) -> Float32Array:
        """Queries as the label classifiers see them: ``x + P x`` of scaled x, float32 B x D."""
        rows = as_query_rows(queries, dim=self.dim)
        device = self.label_bias_L.device
        projected: Float32Array = self.projected(torch.tensor(rows, device=device)).cpu().numpy()
        return projected

    # -- as arrays ------------------------------------------------------------------------------

    @torch.no_grad()
    def search_arrays(self) -> SearchArrays:
        """The parameters as the compiled search reads them; made once until they change."""
        if self._search_arrays is None:
            none: Float32Array = np.empty((0, self.dim), np.float32)
            vectors, edges = none, (np.empty((0, 1), np.int32), np.empty((0, 1), np.float32))
            if self.hierarchy is not None:
                vectors, edges = self.hierarchy.router.vectors(), self.hierarchy.graph.arrays()
            self._search_arrays = SearchArrays(
                none if self.projection is None else self.projection.weight.detach().numpy(),
                self.router.vectors(),
                *self.graph.arrays(),
                *self.label_classifiers(),
                np.float32(self.input_scale.item()),
                vectors,
                *edges,
            )
        return self._search_arrays
