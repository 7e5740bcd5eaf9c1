"""What LLVM may do with the sums and products of floats of a compiled function.

Never ``nnan`` or ``ninf``: a loaded model may hold either, and the checks for them must stay. A
function that may reorder sums is ``forceinline=True`` where others call it: a copy that is compiled
once more, in another place, could add in another order (``tests/test_reproducibility.py``).
"""

from __future__ import annotations

from typing import Any

FAST: Any = {"reassoc", "contract", "nsz"}
"""Sums may be made in any order, so loops vectorise.

A loop that adds up writes into no array beside the one it reads. Where one does, LLVM compiles it
twice, as a vector loop and as a plain one for arrays that lie close together, and so the last bit
of the sum would depend on where small arrays happen to lie (``tests/test_reproducibility.py``)."""

ROUNDS_WELL: Any = {"contract", "nsz"}
"""A product and a sum may become one instruction; terms stay in their order. For formulas whose
order keeps them exact (a polynomial, ``x - n ln 2`` in two parts)."""
