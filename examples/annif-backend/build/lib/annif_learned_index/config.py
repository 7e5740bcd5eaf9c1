"""Annif's configuration for its web service, which knows the backend by being imported."""

from __future__ import annotations

from annif.default_config import ProductionConfig

import annif_learned_index  # noqa: F401 - makes the backend known

__all__ = ["ProductionConfig"]
