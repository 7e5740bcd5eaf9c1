"""A trained index as a read-only search engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.engine.arrays import EngineArrays
from learned_index.engine.building import IndexParts, build_arrays
from learned_index.engine.checking import check_arrays
from learned_index.engine.config import EngineConfig
from learned_index.engine.constants import Constants
from learned_index.engine.filtering import Places, restricted_arrays
from learned_index.engine.label_scores import BeamSearch, growing_widths, score_pairs
from learned_index.engine.mapping import KIND
from learned_index.engine.merging import with_merged_labels
from learned_index.engine.new_labels import Examples
from learned_index.engine.saving import open_arrays, write_arrays
from learned_index.engine.segment import compacted, with_new_labels
from learned_index.engine.tuning import Tuning, tune
from learned_index.engine.work import Work, mean_work
from learned_index.inputs.filters import Filter, search_by_filter
from learned_index.inputs.labels import LabelIds
from learned_index.inputs.merging import merge_shares, merge_targets
from learned_index.inputs.new_labels import (
    KnownPoints,
    NewLabels,
    checked_counts,
    checked_examples,
    checked_known,
)
from learned_index.inputs.numbers import MOST, check_result_size, whole_number
from learned_index.inputs.scored import ScoredLabels, Scores, Wanted
from learned_index.inputs.vectors import as_query_rows, bad_row
from learned_index.kernels.engine.routing import NO_BUDGET
from learned_index.kernels.engine.scratch import scratch_bytes
from learned_index.kernels.engine.search import GROWTH, search_both, search_rows
from learned_index.kernels.machine.parallel import run_queries, survive_forks
from learned_index.persistence import Manifest, Saved
from learned_index.system.lazy import lazy_property
from learned_index.types import DenseMatrix, Int64Array, SearchResult

_FLOAT32 = np.dtype(np.float32)
_NO_PLACES = np.empty(0, np.int32)


class SearchEngine(Saved):
    """Search of one trained index, laid out for speed; nothing of it can be changed.

    Made by :meth:`LearnedGraphIndex.to_engine` or :meth:`from_pretrained`. Labels are found as by
    the index that it was made from; scores differ by the rounding of the stored vectors. Any
    number of threads may search one engine at once.

    Args:
        arrays: What the compiled search reads.
        config: Precision and default knobs.
        constants: The numbers beside the arrays.
        complete: The beam grows until the shortlist is full, not only until there are k results.
            Engines of a part of the labels set it.

    Raises:
        InputError: Arrays that do not fit together.
    """

    kind: ClassVar[str] = KIND

    def __init__(
        self,
        arrays: EngineArrays,
        config: EngineConfig,
        constants: Constants,
        *,
        complete: bool = False,
    ) -> None:
        constants.check()
        check_arrays(arrays, dim=constants.dim, precision=config.precision)
        survive_forks()
        self.config = config
        self.constants = constants
        self._complete = complete
        self._dim = constants.dim
        self._n_clusters = arrays.n_clusters
        self._numbers = np.array(constants.of_search)
        self._take(arrays)

    def _take(self, arrays: EngineArrays) -> None:
        """Search these arrays from now on."""
        self.arrays = arrays
        self._n_labels = arrays.n_labels
        self._search_rows = search_rows if arrays.segment is None else search_both
        self._handle = arrays.handle(self.constants, self.config.precision)
        self._local = threading.local()

    @lazy_property
    def _places(self) -> Places:
        return Places(self.arrays.ids())

    @classmethod
    def from_parts(cls, parts: IndexParts, config: EngineConfig | None = None) -> Self:
        """Lay out an index that is given as arrays.

        Raises:
            InputError: The configuration does not fit the index.
        """
        config = EngineConfig.given(config)
        regions = parts.some_regions()
        constants = Constants(
            dim=parts.label_vectors_LD.shape[1],
            router_scale=float(parts.router_scale),
            region_scale=float(regions.scale),
            path_exponent=float(parts.path_exponent) if config.ranking == "model" else 0.0,
            region_beam_width=regions.beam_width,
            n_candidates=regions.n_candidates,
            reference_width=regions.reference_width,
            coverage=regions.coverage,
        )
        parts = parts._replace(path_exponent=constants.path_exponent)
        return cls(build_arrays(parts, config), config, constants)

    # -- copies ---------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arrays (mapped ones by path and digest); addresses and scratch are made anew.

        So an engine that was opened from a directory is sent to another process in a kilobyte.
        """
        return partial(type(self), complete=self._complete), (
            self.arrays, self.config, self.constants
        )  # fmt: skip

    def __copy__(self) -> Self:
        """Another object that searches the same arrays; nothing can change them."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy(self)

    # -- shape ----------------------------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Dimension D of the queries."""
        return self._dim

    @property
    def n_labels(self) -> int:
        """Number of labels L, those of a segment among them."""
        return self.arrays.n_labels

    @property
    def n_new_labels(self) -> int:
        """Labels that :meth:`add_labels` added since the engine was laid out, in its segment."""
        return self.arrays.n_labels - self.arrays.n_main

    @property
    def n_clusters(self) -> int:
        """Number of clusters C."""
        return self.arrays.n_clusters

    @property
    def is_partial(self) -> bool:
        """True for an engine that :meth:`restrict` made."""
        return self._complete

    @property
    def nbytes(self) -> int:
        """Bytes of the engine, in memory and on disk."""
        return self.arrays.nbytes

    def __repr__(self) -> str:
        """Sizes and precision."""
        new = f" ({self.n_new_labels} of them in a segment)" if self.n_new_labels else ""
        return (
            f"SearchEngine({self.n_labels} labels{new}, {self.n_clusters} clusters, {self.dim} "
            f"dimensions, {self.config.precision}, {self.nbytes / 2**20:.1f} MiB)"
        )

    # -- search ---------------------------------------------------------------------------------

    def search(
        self,
        queries: DenseMatrix,
        k: int = 10,
        *,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
        allow: Filter | None = None,
        deny: Filter | None = None,
    ) -> SearchResult:
        """Find the best k labels of each query, as :meth:`LearnedGraphIndex.search`.

        Answers do not depend on the batch size or the thread count
        (:func:`~learned_index.system.threads.current_threads`). While fewer than k labels are
        found, the beam grows.

        Args:
            queries: B x D (or D) array or tensor; float32 in C order is taken as it is.
            k: Results per query; rows end in id -1, score -inf where there are fewer labels.
            beam_width: W; default from the configuration. More than C means all clusters.
            shortlist_size: K, labels scored with their whole vectors, at least k; default from
                the configuration, 2 k if that is not above k.
            allow: Ids of the only labels to find, or a mask of L booleans.
            deny: Ids of labels not to find, or a mask. Up to an eighth of all labels costs
                microseconds; a longer list, and any ``allow``, goes through :meth:`restrict`,
                which is worth keeping where the list is used again. Both may be given for each
                query by itself, see :data:`~learned_index.inputs.filters.Filter`.

        Returns:
            ids int64 B x k and scores float32 B x k, best first; equal scores by ascending id.

        Raises:
            InputError: As :meth:`LearnedGraphIndex.search`.
        """
        denied = _NO_PLACES
        if allow is not None or deny is not None:
            found = self._search_by_filter(
                queries, k, allow, deny, beam_width=beam_width, shortlist_size=shortlist_size
            )
            if found is not None:
                return found
            few = self._places.denied(deny) if allow is None and deny is not None else None
            if few is None:
                return self.restrict(allow=allow, deny=deny).search(
                    queries, k, beam_width=beam_width, shortlist_size=shortlist_size
                )
            denied = few
        rows = queries
        if (
            type(rows) is not np.ndarray
            or rows.dtype is not _FLOAT32
            or rows.ndim != 2
            or rows.shape[1] != self._dim
            or not rows.flags.c_contiguous
        ):
            rows = as_query_rows(queries, dim=self._dim)
        config, n_labels = self.config, self._n_labels
        # What is an int in range already, as nearly always, is not looked at twice.
        if not (type(k) is int and 0 < k <= n_labels):
            k = whole_number(k, "k")
            check_result_size(k, n_rows=len(rows), n_labels=n_labels)
        width, size = config.beam_width, config.shortlist_size
        if beam_width is not None:
            plain = type(beam_width) is int and 0 < beam_width <= MOST
            width = beam_width if plain else whole_number(beam_width, "beam_width")
        if shortlist_size is not None:
            plain = type(shortlist_size) is int and 0 < shortlist_size <= MOST
            size = shortlist_size if plain else whole_number(shortlist_size, "shortlist_size")
        elif size <= k:
            size = 2 * k
        width = min(width, self._n_clusters)
        size = min(max(size, k), n_labels)
        # Of a part of the labels as many are looked at as of all.
        least = min(size if self._complete or denied.size else k, n_labels - denied.size)
        # All clusters are all clusters: nothing is left out of an exhaustive search.
        budget = NO_BUDGET if width == self._n_clusters else config.walk_factor * size
        return self._run(rows, k, (width, size, budget, least, denied))

    def score(
        self, queries: DenseMatrix, labels: ScoredLabels, *, beam_width: int | None = None
    ) -> Scores:
        """Score labels for queries, as :meth:`LearnedGraphIndex.score`.

        The beam grows until it has found a label, and no further: the score is that of a search for
        one result after :meth:`remove_labels` took all others. (:meth:`restrict`, and so
        ``search(allow=)``, fills a whole shortlist, and looks at all clusters for few labels.) A
        search that leaves weak edges out (``walk_factor``) misses the best path to one label in
        some ten thousand, whose score is then a little lower than this.

        Args:
            queries: As :meth:`search`.
            labels: M ids for all queries, each once; an array B x M of ids, -1 at pads, as a search
                gives them; or for each query by itself, as filters are.
            beam_width: W to begin with; default from the configuration.

        Returns:
            float32 B x M in the order of the labels, -inf at pads and for labels that this engine
            never finds. Of labels for each query by itself a list of B arrays.

        Raises:
            InputError: As :meth:`search`; labels that come twice for a query.
        """
        rows_BD = as_query_rows(queries, dim=self._dim)
        width = self.config.beam_width if beam_width is None else beam_width
        width = whole_number(width, "beam_width")
        wanted = Wanted(labels, len(rows_BD), self._n_labels)

        def only(labels_M: Int64Array) -> BeamSearch:
            size = len(labels_M)
            mask_L = np.zeros(self._n_labels, bool)
            mask_L[labels_M] = True
            part = self.restrict(allow=mask_L)
            # No beam grows by itself, and all edges are walked: there are few.
            return lambda rows, width: part._run(
                rows_BD[rows], size, (width, size, NO_BUDGET, 0, _NO_PLACES)
            )

        widths = growing_widths(width, GROWTH, self._n_clusters)
        return wanted.arranged(score_pairs(wanted.rows_n, wanted.labels_n, only, widths))

    def _search_by_filter(
        self, queries: DenseMatrix, k: int, allow: Any, deny: Any, **knobs: int | None
    ) -> SearchResult | None:
        rows = as_query_rows(queries, dim=self._dim)
        k = whole_number(k, "k")
        check_result_size(k, n_rows=len(rows), n_labels=self._n_labels)
        return search_by_filter(
            allow, deny, len(rows), k,
            lambda some, allowed, denied: self.search(
                rows[some], k, allow=allowed, deny=denied, **knobs
            ),
            n_labels=self._n_labels,
        )  # fmt: skip

    def _run(
        self,
        rows: npt.NDArray[np.float32],
        k: int,
        knobs: tuple[int, int, int, int, npt.NDArray[np.int32]],
    ) -> SearchResult:
        """Search checked rows; ``knobs`` are those of the kernel, from the beam's width on."""
        n_rows = len(rows)
        ids = np.empty((n_rows, k), np.int64)
        scores = np.empty((n_rows, k), np.float32)
        if n_rows == 1:
            search = self._search_rows
            bad = search(
                self._handle, rows, 0, 1, self._numbers, *knobs,
                *self._scratch(knobs[1]), ids, scores,
            )  # fmt: skip
        else:
            bad = self._search_batch(rows, knobs, ids, scores)
        if bad >= 0:
            raise bad_row(rows, name="queries")
        return SearchResult(ids, scores)

    def _search_batch(
        self,
        rows: npt.NDArray[np.float32],
        knobs: tuple[int, int, int, int, npt.NDArray[np.int32]],
        ids: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
    ) -> int:
        bad: list[int] = []
        search = self._search_rows

        def call(start: int, stop: int) -> None:
            first = search(
                self._handle, rows, start, stop, self._numbers, *knobs,
                *self._scratch(knobs[1]), ids, scores,
            )  # fmt: skip
            if first >= 0:
                bad.append(int(first))

        run_queries(len(rows), call)
        return min(bad, default=-1)

    def _scratch(self, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """This thread's scratch memory and counters; the search leaves zero what it found zero."""
        held: dict[str, Any] = self._local.__dict__
        if held.get("size", -1) < size:
            counts = held["arrays"][1] if "arrays" in held else np.zeros(5, np.int64)
            held["arrays"] = np.zeros(scratch_bytes(self._handle, size), np.uint8), counts
            held["size"] = size
        arrays: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]] = held["arrays"]
        return arrays

    def work(
        self,
        queries: DenseMatrix,
        k: int = 10,
        *,
        beam_width: int | None = None,
        shortlist_size: int | None = None,
    ) -> Work:
        """What a query costs on average; the arguments are those of :meth:`search`."""
        before = self._scratch(0)[1].copy()
        for row in as_query_rows(queries, dim=self._dim):
            # One by one: a batch may be searched, and counted, on other threads.
            self.search(row[None], k, beam_width=beam_width, shortlist_size=shortlist_size)
        return mean_work(self.arrays, self._scratch(0)[1] - before)

    # -- variants -------------------------------------------------------------------------------

    def restrict(self, *, allow: LabelIds | None = None, deny: LabelIds | None = None) -> Self:
        """An engine of a part of the labels; it shares the vectors with this one.

        No recall is lost: other labels take no place in the shortlist, and while fewer labels are
        found than the shortlist holds, the beam grows, up to all clusters.

        Args:
            allow: Ids of the only labels to find, or a mask of L booleans; None: all.
            deny: Ids of labels not to find, or a mask; wins over ``allow``.

        Raises:
            InputError: Ids that do not exist, or a mask of another length.
        """
        twin = copy(self)
        twin._take(restricted_arrays(self.arrays, allow=allow, deny=deny))
        twin._complete = True
        return twin

    def remove_labels(self, labels: LabelIds) -> Self:
        """An engine that never finds some labels; it shares the vectors with this one.

        As :meth:`restrict`, and saved likewise, but the beam does not grow for what is missing: for
        labels that are gone for good, as a rule few.

        Args:
            labels: Ids, or a mask of L booleans.

        Raises:
            InputError: Ids that do not exist.
        """
        twin = copy(self)
        twin._take(restricted_arrays(self.arrays, allow=None, deny=labels))
        return twin

    def add_labels(
        self, examples: NewLabels, *, known: KnownPoints, counts: Int64Array | None = None
    ) -> Self:
        """An engine that finds M labels more; it shares all that it has with this one.

        As :meth:`LearnedGraphIndex.add_labels`, from the classifiers as they are stored and the
        engine's own routing. The new labels lie in a segment beside the arrays of this engine,
        which are not copied; added again, they join that segment. Each search looks at both, at the
        cost of the edges and labels of the segment that it comes across; of a large one
        :meth:`compact` makes one part again.

        Args:
            examples: For each new label the vectors of its examples, n x D, at least one.
            known: Points that the engine knows labels by, some of what it was trained on: vectors
                N x D, and their labels as for a training (CSR N x L, or lists of ids).
            counts: int64, L. Training points of each label; None: as many as in ``known``.

        Returns:
            An engine whose new labels have the ids L, L + 1, ... in the order given.

        Raises:
            InputError: No examples, vectors or labels that do not fit, no known label.
        """
        vectors, of_each = checked_examples(examples, dim=self._dim)
        points = checked_known(known, dim=self._dim, n_labels=self._n_labels)
        return self._with(
            with_new_labels(
                self.arrays, self.config, self.constants, Examples.of(vectors, of_each), points,
                checked_counts(counts, self._n_labels),
            )
        )  # fmt: skip

    def merge_labels(
        self, targets: Mapping[int, int], *, weights: npt.ArrayLike | None = None
    ) -> Self:
        """An engine in which some labels have become one with others, and are never found.

        As :meth:`LearnedGraphIndex.merge_labels`, of the classifiers as they are stored. Ids stay;
        the table of the labels' vectors is copied.

        Args:
            targets: For each label that goes the one that it becomes; which stays itself.
            weights: L, how much each classifier counts, for instance its training points; None:
                all alike.

        Raises:
            InputError: Ids that do not exist, a target that goes itself, weights of another length
                or below 0.
        """
        target_L = merge_targets(targets, self._n_labels)
        shares_LL = merge_shares(target_L, weights)
        shape: Any = {"dim": self._dim, "precision": self.config.precision}
        return self._with(with_merged_labels(self.arrays, target_L, shares_LL, **shape))

    def compact(self) -> Self:
        """An engine whose segment has joined the main part; without one, this engine.

        Vectors, sketches and edges are copied as they are: scores do not change. Answers are those
        of the engine with its segment, except for what a search leaves out: where the edges of the
        beam's clusters are more than ``walk_factor`` times the shortlist, the weakest are not
        walked, and the segment has that budget for itself while it is one, so that a label with a
        weak path may be found with a segment and not without. Of labels with equal scores by the
        sketch at the end of the shortlist another one may be taken. An exhaustive search (all
        clusters, all labels) answers alike, bit for bit.
        """
        if self.arrays.segment is None:
            return self
        return self._with(compacted(self.arrays))

    def _with(self, arrays: EngineArrays) -> Self:
        """An engine like this one of other arrays, whose labels lie elsewhere."""
        twin = copy(self)
        twin.__dict__.pop("_places", None)
        twin._take(arrays)
        return twin

    def with_knobs(self, *, beam_width: int, shortlist_size: int) -> Self:
        """The same engine with other default knobs."""
        twin = copy(self)  # the arrays are shared, and need no second check
        twin.config = replace(self.config, beam_width=beam_width, shortlist_size=shortlist_size)
        return twin

    def tune(
        self,
        queries: DenseMatrix,
        truth: sp.csr_matrix | None = None,
        *,
        recall: float = 0.95,
        k: int = 100,
    ) -> Tuning:
        """Find the cheapest knobs that reach a recall on held-out queries.

        See :func:`learned_index.engine.tuning.tune`; ``engine.with_knobs(**tuning.knobs)`` takes
        them over.
        """
        return tune(self, queries, truth, recall=recall, k=k)

    # -- persistence ----------------------------------------------------------------------------

    def _write(self, folder: Path) -> dict[str, Any]:
        write_arrays(self.arrays, folder)
        config = {
            "engine": self.config.to_dict(),
            "constants": self.constants._asdict(),
            "complete": self.is_partial,
        }
        return config | ({"segment": self.n_new_labels} if self.n_new_labels else {})

    def _format_version(self) -> int:
        return 2 if self.n_new_labels else 1  # version 1 knows no segments

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        *,
        verify: bool = False,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """Open what :meth:`save_pretrained` wrote; the arrays are mapped, not read.

        Sizes, shapes and ids are checked. Checksums are not unless ``verify`` asks for it: that
        would read all of the files. The other arguments are those of
        :meth:`ELIAS.from_pretrained <learned_index.ELIAS.from_pretrained>`.

        Raises:
            InputError: A name that the hub does not know, or cannot be asked for.
            ModelFormatError: Not a saved engine, truncated, edited, or from a newer version.
        """
        return super().from_pretrained(
            directory, verify=verify, revision=revision, token=token, cache_dir=cache_dir
        )

    @classmethod
    def _read(cls, manifest: Manifest) -> Self:
        return cls(
            open_arrays(manifest),
            EngineConfig.from_dict(manifest.config["engine"]),
            Constants(**manifest.config["constants"]),
            complete=bool(manifest.config["complete"]),
        )
