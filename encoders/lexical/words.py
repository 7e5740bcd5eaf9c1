"""Texts as words: found once, numbered by the distinct ones, counted.

Legend: B texts, T words of all B texts together, U distinct words.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.types import Int64Array

WORDS = r"(?u)\b\w+\b"
"""Runs of letters, digits and underscores; scikit-learn's own pattern drops single ones."""
_FIND = re.compile(WORDS).findall


class WordLists(NamedTuple):
    """The words of texts, in order.

    Attributes:
        distinct: The U distinct words, in the order in which they first occur.
        ids: int64, T. For each word its place in ``distinct``, text after text.
        offsets: int64, B + 1. Where each text's words begin.
    """

    distinct: list[str]
    ids: Int64Array
    offsets: Int64Array

    @classmethod
    def of(cls, texts: Sequence[str]) -> WordLists:
        """Find the words of B texts, folded to lower case.

        Example:
            >>> WordLists.of(["A red fox.", "red"]).distinct
            ['a', 'red', 'fox']
        """
        numbers: defaultdict[str, int] = defaultdict()
        numbers.default_factory = numbers.__len__
        ids: list[int] = []
        offsets = [0]
        for text in texts:
            ids += [numbers[word] for word in _FIND(text.lower())]
            offsets.append(len(ids))
        return cls(list(numbers), np.array(ids, np.int64), np.array(offsets, np.int64))

    def in_texts(self) -> Int64Array:
        """In how many texts each distinct word stands: int64, U."""
        ones = np.ones(len(self.ids), np.float32)
        shape = (len(self.offsets) - 1, len(self.distinct))
        matrix = sp.csr_matrix((ones, self.ids, self.offsets), shape=shape)
        matrix.sum_duplicates()
        return np.bincount(matrix.indices, minlength=len(self.distinct)).astype(np.int64)
