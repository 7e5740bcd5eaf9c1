"""The full model: encoder, index and classifiers, ranker, calibration, ensemble."""

from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.elias.saving import load_model

__all__ = ["ELIAS", "EliasConfig", "load_model"]
