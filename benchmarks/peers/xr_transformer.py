"""XR-Transformer of PECOS, a peer that is trained on texts by its own commands.

Zhang et al., Fast multi-resolution transformer fine-tuning for extreme multi-label text
classification, NeurIPS 2021. It fine-tunes a transformer layer by layer of a label tree, then
learns linear classifiers from the words joined with the transformer's vectors.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from benchmarks.peers.data import Points
from learned_index.baselines.points import best_of_sparse
from learned_index.comparison.elsewhere import versions_of
from learned_index.comparison.features import WORDS
from learned_index.comparison.reference import DEPTH
from learned_index.encoders.transformer.hub import resolve_model
from learned_index.errors import InputError, LearnedIndexError
from learned_index.persistence.digest import file_digest
from learned_index.types import Int64Array

INSTALL = (
    "it wants an environment of its own: python -m venv xrt; xrt/bin/pip install 'numpy<2' "
    "'scipy<1.14' scikit-learn sentencepiece torch 'transformers==4.36.2'; xrt/bin/pip install "
    "--no-deps libpecos; then name that: --python xr-transformer=xrt/bin/python"
)
_PACKAGES = ("numpy", "scipy", "libpecos", "torch", "transformers")


@dataclass(frozen=True)
class XRTransformer:
    """One setting of XR-Transformer.

    Attributes:
        python: Interpreter of the environment that has libpecos and transformers.
        transformer: A folder with a BERT-like network, or ``"minilm"``.
        options: Of its training command, with underscores for hyphens.
        max_tokens: Of a text.
    """

    python: str
    transformer: str
    options: Mapping[str, Any]
    max_tokens: int = 64

    method: ClassVar[str] = "xr-transformer"

    def identity(self) -> list[Any]:
        """See :class:`~benchmarks.peers.systems.System`."""
        return [self.method, dict(self.options)]

    def environment(self) -> list[Any]:
        """Likewise.

        Raises:
            InputError: The interpreter cannot be run, or misses a package.
        """
        found = versions_of(self.python, _PACKAGES)
        missing = [name for name in _PACKAGES if found.get(name) is None]
        if missing:
            raise InputError(f"{self.python} has no {', '.join(missing)}: {INSTALL}")
        weights = file_digest(resolve_model(self.transformer) / "model.safetensors")
        return [self.max_tokens, found, weights]

    def seeded(self, seed: int) -> Self:
        """Likewise."""
        return replace(self, options={**self.options, "seed": seed})

    def answers(
        self, points: Points, grid: Sequence[Mapping[str, Any]], *, folder: Path, threads: int
    ) -> tuple[list[Int64Array], float]:
        """Likewise.

        Raises:
            InputError: The points are no texts.
            LearnedIndexError: One of its commands failed; its last lines.
        """
        if sp.issparse(points.train):
            raise InputError("xr-transformer learns from texts, and these points are features")
        for name, texts in (("train", points.train), ("asked", points.queries)):
            lines = [" ".join(text.split()) + "\n" for text in texts]
            (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
        features = points.features(WORDS)
        for name, rows in zip(("train", "asked"), features, strict=True):
            sp.save_npz(folder / f"{name}.npz", sp.csr_matrix(rows, dtype=np.float32))
        sp.save_npz(folder / "labels.npz", sp.csr_matrix(points.labels_NL, dtype=np.float32))
        start = time.perf_counter()
        self._run(
            "train", folder, threads,
            trn_text_path="train.txt", trn_feat_path="train.npz", trn_label_path="labels.npz",
            model_dir="model", model_shortcut=resolve_model(self.transformer).absolute(),
            truncate_length=self.max_tokens, only_topk=DEPTH, **self.options,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        found = []
        for query in grid:
            self._run(
                "predict", folder, threads,
                text_path="asked.txt", feat_path="asked.npz", model_folder="model",
                save_pred_path="found.npz", only_topk=DEPTH, **query,
            )  # fmt: skip
            ids, _ = best_of_sparse(sp.csr_matrix(sp.load_npz(folder / "found.npz")), DEPTH)
            found.append(ids)
        return found, seconds

    def _run(self, command: str, folder: Path, threads: int, **options: Any) -> None:
        words = [self.python, "-W", "ignore", "-m", f"pecos.xmc.xtransformer.{command}"]
        for name, value in {**options, "use_gpu": "false", "batch_gen_workers": 1}.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise LearnedIndexError(
                f"xr-transformer's {command} command failed: {done.stderr[-1000:].strip()}"
            )
