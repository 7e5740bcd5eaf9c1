"""The numbers of an engine beside its arrays."""

from __future__ import annotations

from typing import NamedTuple

from learned_index.inputs.numbers import real_number, whole_number


class Constants(NamedTuple):
    """Numbers that a search needs beside the arrays.

    Attributes:
        dim: D.
        router_scale: alpha of the clusters.
        region_scale: alpha of the regions.
        path_exponent: a, applied to the cluster scores (the stored edge weights have it).
        region_beam_width: W0, regions explored at the reference width.
        n_candidates: K0, clusters scored at the reference width.
        reference_width: The beam width W that W0 and K0 are for.
        coverage: Part of the softmax over all clusters that K0 candidates hold on average.
    """

    dim: int
    router_scale: float
    region_scale: float
    path_exponent: float
    region_beam_width: int
    n_candidates: int
    reference_width: int
    coverage: float

    @property
    def of_search(self) -> tuple[float, float, float, float]:
        """What :mod:`learned_index.kernels.engine.search` takes of them, in its order."""
        return self.router_scale, self.region_scale, self.path_exponent, self.coverage

    def check(self) -> None:
        """Check types and ranges: the compiled search divides by some and takes powers of others.

        Raises:
            InputError: Names the number.
        """
        for name in ("dim", "region_beam_width", "n_candidates", "reference_width"):
            whole_number(getattr(self, name), name)
        for name in ("router_scale", "region_scale"):
            real_number(getattr(self, name), name, low=1.0, high=1e6)
        real_number(self.path_exponent, "path_exponent", low=0.0, high=1e3)
        real_number(self.coverage, "coverage", low=1e-30, high=1.0)
