"""ELIAS++ on top of an index: sparse ranker, score combination, calibration."""

from learned_index.ranking.calibration import CalibrationMethod, Calibrator
from learned_index.ranking.combination import Combination
from learned_index.ranking.config import RankerConfig
from learned_index.ranking.reliability import calibration_error, log_loss, reliability_bins
from learned_index.ranking.sparse_ranker import SparseRanker

__all__ = [
    "CalibrationMethod",
    "Calibrator",
    "Combination",
    "RankerConfig",
    "SparseRanker",
    "calibration_error",
    "log_loss",
    "reliability_bins",
]
