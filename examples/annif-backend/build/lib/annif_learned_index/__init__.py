"""A backend of Annif that asks a saved model of learned-index, in Annif's own process."""

from __future__ import annotations

import annif.backend
from annif.backend.backend import AnnifBackend

NAME = "learned_index"
"""What a project's configuration calls it: ``backend=learned_index``."""


def backend() -> type[AnnifBackend]:
    """Return the class; what it needs is imported when a project asks for it."""
    from annif_learned_index.backend import LearnedIndexBackend

    return LearnedIndexBackend


# The table that annif.backend.get_backend looks a name up in. Annif 1.4 has no other way in.
annif.backend._backend_fns[NAME] = backend
