"""What is tried for each peer: the settings that its users turn, the defaults first.

Every peer has as many trials; the first ones of its list that differ on the features at hand (runs
of words mean nothing to vectors, nor to rows of features) are tried.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Trial(NamedTuple):
    """A setting of a peer.

    Attributes:
        options: Build arguments.
        query: Query-time arguments.
    """

    options: dict[str, Any]
    query: dict[str, Any]

    @property
    def title(self) -> str:
        """All that differs from the defaults, in words; ``"defaults"`` where nothing does."""
        values = {**self.options, **self.query}
        return " ".join(f"{name}={value}" for name, value in values.items()) or "defaults"


WORD_OPTIONS = ("ngrams", "min_df")
"""Options that words alone have."""
WITH_SEEDS = ("omikuji", "pecos", "xr-transformer")
"""Peers whose answers differ from training to training; omikuji takes no seed and is repeated."""
MEMBERS = {"omikuji": "omikuji", "pecos": "pecos", "dismec": "dismec", "knn": "tfidf-knn"}
"""The peers that are methods of ``li compare``."""
PEERS = (*MEMBERS, "xr-transformer")
"""All peers."""

_BONSAI = {"preset": "bonsai"}
_PAIRS = {"ngrams": 2}
_MAN = {"negatives": "tfn+man"}
_XRT = {"max_leaf_size": 100, "nr_splits": 16, "warmup_steps": 50, "batch_size": 32}

GRIDS: dict[str, tuple[Trial, ...]] = {
    # Trees and shape of the forest, length of the words, pruning of the classifiers, beam.
    "omikuji": (
        Trial({}, {"beam_size": 10}),
        Trial(_BONSAI, {"beam_size": 10}),
        Trial({**_BONSAI, **_PAIRS}, {"beam_size": 10}),
        Trial({**_BONSAI, **_PAIRS, "threshold": 0.05}, {"beam_size": 30}),
        Trial({**_BONSAI, "threshold": 0.05}, {"beam_size": 30}),
        Trial(_PAIRS, {"beam_size": 10}),
        Trial({**_BONSAI, "min_df": 3, "n_trees": 5}, {"beam_size": 30}),
        Trial({"threshold": 0.05, "n_trees": 5}, {"beam_size": 30}),
        Trial({**_BONSAI, "cost": 2.0}, {"beam_size": 30}),
        Trial({**_BONSAI, "cost": 0.5}, {"beam_size": 30}),
        Trial({**_BONSAI, "threshold": 0.02}, {"beam_size": 30}),
        Trial({"threshold": 0.02}, {"beam_size": 30}),
    ),
    # Branching, leaves, which negatives a classifier sees, beam.
    "pecos": (
        Trial({}, {"beam_size": 10}),
        Trial({"nr_splits": 32, **_MAN}, {"beam_size": 10}),
        Trial(_PAIRS, {"beam_size": 20}),
        Trial({"nr_splits": 32, **_MAN, **_PAIRS}, {"beam_size": 20}),
        Trial({"nr_splits": 32, "max_leaf_size": 20, **_MAN}, {"beam_size": 50}),
        Trial({"nr_splits": 2}, {"beam_size": 50}),
        Trial({"nr_splits": 32, "max_leaf_size": 20}, {"beam_size": 50}),
        Trial({"nr_splits": 32, "max_leaf_size": 400, "min_df": 3, **_MAN}, {"beam_size": 20}),
        Trial({}, {"beam_size": 50}),
        Trial({"nr_splits": 2, **_MAN}, {"beam_size": 20}),
        Trial({"max_leaf_size": 400}, {"beam_size": 20}),
        Trial({"nr_splits": 64, "max_leaf_size": 50, **_MAN}, {"beam_size": 50}),
    ),
    # LIBLINEAR's C, length of the words, pruning.
    "dismec": (
        Trial({}, {}),
        Trial(_PAIRS, {}),
        Trial({"cost": 4.0}, {}),
        Trial({"cost": 4.0, **_PAIRS}, {}),
        Trial({"cost": 0.25}, {}),
        Trial({"cost": 16.0}, {}),
        Trial({"cost": 2.0, "min_df": 3}, {}),
        Trial({"cost": 2.0, **_PAIRS}, {}),
        Trial({"threshold": 0.05}, {}),
        Trial({"cost": 0.5}, {}),
        Trial({"cost": 8.0}, {}),
        Trial({"cost": 4.0, "threshold": 0.05}, {}),
    ),
    # Neighbours and what each of them votes, length of the words.
    "knn": (
        Trial({}, {"neighbours": 20}),
        Trial({}, {"neighbours": 50}),
        Trial({}, {"neighbours": 10}),
        Trial({"votes": "equal"}, {"neighbours": 10}),
        Trial(_PAIRS, {"neighbours": 20}),
        Trial(_PAIRS, {"neighbours": 50}),
        Trial({}, {"neighbours": 100}),
        Trial({}, {"neighbours": 5}),
        Trial({"votes": "equal"}, {"neighbours": 5}),
        Trial({"votes": "equal"}, {"neighbours": 20}),
        Trial({}, {"neighbours": 30}),
        Trial({}, {"neighbours": 200}),
    ),
    # How long and how fast each layer is fine-tuned, shape of the tree, beam.
    "xr-transformer": tuple(
        Trial({**_XRT, "num_train_epochs": epochs, "learning_rate": rate, **more}, {"beam_size": b})
        for epochs, rate, more, b in (
            (3, 1e-4, {}, 20),
            (3, 5e-5, {}, 20),
            (6, 1e-4, {}, 20),
            (6, 2e-4, {}, 20),
            (3, 1e-4, {"max_leaf_size": 400}, 20),
            (3, 2e-4, {}, 20),
            (6, 5e-5, {}, 20),
            (3, 1e-4, {}, 50),
            (10, 1e-4, {}, 20),
            (3, 1e-4, {"max_leaf_size": 20, "nr_splits": 32}, 50),
            (1, 1e-4, {}, 20),
            (10, 5e-5, {}, 20),
        )
    ),
}  # fmt: skip


def trials_for(peer: str, features: str, n_trials: int, *, has_texts: bool = True) -> list[Trial]:
    """Return the first settings of a peer's grid that differ on features of a kind.

    Args:
        peer: A key of :data:`GRIDS`.
        features: ``"words"``, ``"vectors"`` or ``"joined"``.
        n_trials: Settings at most.
        has_texts: Whether the points are texts, or rows of features already.
    """
    found: list[Trial] = []
    for trial in GRIDS[peer]:
        options = trial.options
        if features == "vectors" or not has_texts:
            options = {n: value for n, value in options.items() if n not in WORD_OPTIONS}
        known = Trial(options, trial.query)
        if known not in found:
            found.append(known)
    return found[:n_trials]
