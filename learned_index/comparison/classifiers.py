"""Label classifiers that are trained for a comparison, and kept for the next run.

An index trains its classifiers on shortlists: they never had to tell their label from those that
no path leads to. A search over all labels deserves classifiers that were trained against all, as
those of one-vs-all are.
"""

from __future__ import annotations

import inspect
import logging
import time
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from learned_index.comparison.data import ComparisonData
from learned_index.comparison.method import LabelClassifiers, Method, MethodSpec
from learned_index.comparison.workspace import affine_parts
from learned_index.errors import InputError, ModelFormatError
from learned_index.inputs.vectors import as_array
from learned_index.persistence import Manifest, Saved, load_arrays, save_arrays
from learned_index.persistence.contents import require_layout
from learned_index.persistence.digest import bytes_digest, data_digest, digest
from learned_index.persistence.kept import plain_name
from learned_index.system.progress import Progress
from learned_index.types import DenseMatrix, Float32Array

logger = logging.getLogger(__name__)

_ARRAYS = "classifiers.safetensors"


class KeptClassifiers(Saved):
    """Label classifiers behind an affine projection: label l scores ``(x A + c) . w_l + b_l``.

    Args:
        arrays: ``weights_LD``, ``bias_L``, ``matrix_DD`` (A) and ``offset_D`` (c), float32.
        facts: ``digest`` of all that they were trained with, ``options`` and ``train_s``, seconds.
    """

    kind: ClassVar[str] = "label-classifiers"

    def __init__(self, arrays: dict[str, Float32Array], facts: dict[str, Any]) -> None:
        self._arrays = arrays
        self.facts = facts

    @classmethod
    def of(cls, trained: LabelClassifiers, *, dim: int, facts: dict[str, Any]) -> Self:
        """Take them from what was trained on vectors of D dimensions."""
        weights_LD, bias_L = trained.label_classifiers()
        matrix_DD, offset_D = affine_parts(trained.project, dim)
        arrays = {
            "weights_LD": weights_LD,
            "bias_L": bias_L,
            "matrix_DD": matrix_DD,
            "offset_D": offset_D,
        }
        return cls({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in arrays.items()}, facts)

    def label_classifiers(self) -> tuple[Float32Array, Float32Array]:
        """Return the weights L x D and the biases L of all labels."""
        return self._arrays["weights_LD"], self._arrays["bias_L"]

    def project(self, queries: DenseMatrix) -> Float32Array:
        """Return ``x A + c``, float32 B x D, that the label classifiers are applied to."""
        rows_BD = np.asarray(as_array(queries, name="queries"), dtype=np.float32)
        projected_BD: Float32Array = rows_BD @ self._arrays["matrix_DD"] + self._arrays["offset_D"]
        return projected_BD

    def _write(self, folder: Path) -> dict[str, Any]:
        save_arrays(folder / _ARRAYS, self._arrays)
        return self.facts

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        arrays = load_arrays(manifest.file(_ARRAYS))
        n_labels, dim = arrays.get("weights_LD", np.empty((0, 0))).shape
        shapes = {"weights_LD": (n_labels, dim), "bias_L": (n_labels,), "matrix_DD": (dim, dim)}
        shapes["offset_D"] = (dim,)
        require_layout(arrays, {name: (np.float32, shape) for name, shape in shapes.items()})
        return cls(arrays, dict(manifest.config))


def trained_classifiers(
    spec: MethodSpec,
    data: ComparisonData,
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
) -> KeptClassifiers:
    """Train label classifiers on the training vectors, or take those of an earlier run.

    Args:
        spec: A method that trains label classifiers which others can search:
            :class:`~learned_index.baselines.ova.OneVsAll`, with its options.
        data: Holds training vectors and labels.
        folder: Where they are kept; None keeps nothing. What lies there counts where data,
            options and the code of the method are the same.
        progress: Told where the training is.

    Raises:
        InputError: A method of another kind, or no training data.
    """
    method = spec.create()
    if not isinstance(method, LabelClassifiers):
        raise InputError(f"{spec.name} trains no label classifiers that others could search")
    if data.embeddings_ND is None or data.labels_NL is None:
        raise InputError(f"{spec.name} learns from training vectors and labels; give both")
    options = {name: value for name, value in method.to_dict().items() if name != "name"}
    key = digest(
        [options, data_digest(np.asarray(data.embeddings_ND), data.labels_NL), _code(method)]
    )
    place = None if folder is None else folder / plain_name(spec.name)
    earlier = None if place is None or not place.exists() else _earlier(place, key)
    if earlier is not None:
        return earlier
    method.progress = progress
    start = time.perf_counter()
    method.build(data.embeddings_ND, data.labels_NL)
    facts = {"digest": key, "options": options, "train_s": time.perf_counter() - start}
    made = KeptClassifiers.of(method, dim=int(np.shape(data.embeddings_ND)[1]), facts=facts)
    if place is not None:
        made.save_pretrained(place, overwrite=True)
    return made


def _earlier(place: Path, key: str) -> KeptClassifiers | None:
    """Return the classifiers that lie there, if they were trained with the same."""
    try:
        kept = KeptClassifiers.from_pretrained(place)
    except ModelFormatError as error:
        logger.warning("%s is damaged and is trained again (%s)", place, error)
        return None
    return kept if kept.facts.get("digest") == key else None


def _code(method: Method) -> str:
    """Return a digest of the sources of the method's class and its bases in this package."""
    files = {
        inspect.getsourcefile(each)
        for each in type(method).__mro__
        if issubclass(each, Method) and each is not Method
    }
    return bytes_digest(Path(file).read_bytes() for file in sorted(filter(None, files)))
