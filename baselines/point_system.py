"""What the adapters to whole systems share: sparse features in, a beam as the knob."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.baselines.base import Baseline, Inputs, check_k, padded, require_built
from learned_index.baselines.knn import training_labels
from learned_index.errors import InputError
from learned_index.inputs.matrices import canonical_features
from learned_index.inputs.numbers import whole_number
from learned_index.types import Float32Array, SearchResult

BEAM_SIZES = (5, 10, 20, 50, 100)
DEFAULT_BEAM = 10
"""The beam of both packages unless told otherwise."""


class PointSystem(Baseline):
    """A system that is trained on sparse features of the points and ranks by itself.

    It sees neither the classifiers nor the vectors of the model that it is compared with. The knob
    is ``beam_size``, nodes kept in each layer of a tree.
    """

    inputs: ClassVar[Inputs] = "points"

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._model: Any = None
        self._n_features = 0

    def build(self, features_NF: sp.csr_matrix, labels_NL: sp.csr_matrix) -> None:
        """Train on the features, N x F with rows of length 1 or empty, and the labels, N x L."""
        x_NF = sparse_features(features_NF, what="training features")
        y_NL = training_labels(labels_NL, n_points=x_NF.shape[0])
        if x_NF.nnz == 0 or y_NL.nnz == 0:
            raise InputError(
                f"{self.name} needs features and labels to learn from, got {x_NF.nnz} entries and "
                f"{y_NL.nnz} labels of {x_NF.shape[0]} points"
            )
        self._n_features = int(x_NF.shape[1])
        self._model = self._train(x_NF, y_NL)

    @abstractmethod
    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        """Return the package's trained model."""

    @abstractmethod
    def _ranked(self, answer: Any) -> tuple[npt.NDArray[np.integer[Any]], Float32Array]:
        """Return the ids and scores in the package's answer to a batch, best first, padded."""

    def search(
        self,
        queries: sp.csr_matrix,
        k: int,
        *,
        beam_size: int = DEFAULT_BEAM,
        **query_arguments: Any,
    ) -> SearchResult:
        """Return the best k labels of each query with the package's scores.

        Args:
            queries: CSR, B x F.
            k: Labels wanted.
            beam_size: Nodes kept in each layer.
            query_arguments: None are known; any is refused.
        """
        require_built(self._model, self.name)
        if query_arguments:
            names = sorted(query_arguments)
            raise InputError(f"{self.name} does not know the query arguments {names}")
        k = check_k(k)
        beam_size = whole_number(beam_size, "beam_size")
        x_BF = sparse_features(queries, what="queries", n_features=self._n_features)
        if x_BF.shape[0] == 0:
            return padded(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), k)
        rows = self.prepare_queries(x_BF)
        ids, scores = self._ranked(self.bind(k, beam_size=beam_size).batch(rows))
        return padded(ids, scores, k)

    def ids_of(self, answer: Any) -> npt.NDArray[np.integer[Any]]:
        """Return the ids in the package's answer to a batch; this is not timed."""
        return self._ranked(answer)[0]

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``beam_size``."""
        return [{"beam_size": size} for size in BEAM_SIZES]


def sparse_features(matrix: Any, *, what: str, n_features: int | None = None) -> sp.csr_matrix:
    """Check sparse features and return them as canonical CSR float32.

    Args:
        matrix: Any scipy sparse matrix.
        what: Its name in error messages.
        n_features: Number of columns expected.

    Raises:
        InputError: It is not sparse, has another width, or holds NaN or infinity.
    """
    return canonical_features(matrix, what=what, n_columns=n_features)


def check_choice(value: Any, choices: Sequence[str], *, what: str) -> None:
    """Raise unless ``value`` is one of the choices.

    Raises:
        InputError: It is not.
    """
    if value not in choices:
        raise InputError(f"{what} is {value!r}, expected one of: {', '.join(choices)}")


def check_at_least(value: Any, least: int, *, what: str) -> None:
    """Raise unless ``value`` is an integer of at least ``least``.

    Raises:
        InputError: It is not.
    """
    whole_number(value, what, low=least)
