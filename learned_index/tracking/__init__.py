"""Callbacks for trainings: a progress bar, and trackers that tell other programs of a training.

A callback is handed to ``fit(..., callbacks=[...])``; ``li train --track`` makes trackers of texts.
"""

from learned_index.tracking.progress import ProgressBar
from learned_index.tracking.registry import TRACKERS, parse_tracker
from learned_index.tracking.tracker import Tracker, TrackingWarning

__all__ = ["TRACKERS", "ProgressBar", "Tracker", "TrackingWarning", "parse_tracker"]
