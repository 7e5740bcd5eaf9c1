"""Texts as weighted bags of terms, and the sums of their terms' vectors (equations 17 and 18).

A text's terms come in two blocks, such as word pieces and words. With c_t the count of term t in
the text and v_t its weight::

    b_t = c_t v_t            first block
    b_t = (1 + log c_t) v_t  second block

each block scaled to length 1, behind a constant b_0 = 1 (texts without a term are empty); and
x = Σ_t b_t E_t, scaled to length 1.

Legend: B texts, T words of all B texts, U distinct words, V rows of the table, D dimension.
"""

from learned_index.kernels.bags.cpu import (
    Block,
    Pairs,
    bag_rows,
    known_only,
    merge_runs,
    sum_bags,
    term_rows,
)
from learned_index.kernels.bags.words import Spelling, WordTable, find_words

__all__ = [
    "Block",
    "Pairs",
    "Spelling",
    "WordTable",
    "bag_rows",
    "find_words",
    "known_only",
    "merge_runs",
    "sum_bags",
    "term_rows",
]
