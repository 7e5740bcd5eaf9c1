"""The K best of many, for the beam (equation 3), the shortlist (equation 5) and the answer.

=========  =========================  =============================================================
version    functions                  used by
=========  =========================  =============================================================
``plain``  ``best_in_order``          answers of an index on a device, and of the oracle
``cpu``    ``kth_bits`` and what is   training's beam and walk, the index's own search, the engine
           made with it, ``best_rows``
``cuda``   ``select_largest``         training's walk
=========  =========================  =============================================================

Each caller wants something else of the same choice (places, values moved to the front, an order),
so there is nothing to dispatch: callers import from the version that they are written for. Of
equal values the first ones are kept wherever the result has no order, and those with smaller ids
where it has one.
"""
