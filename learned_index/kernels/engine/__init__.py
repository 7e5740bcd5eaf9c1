"""The search engine's compiled search: equations 2 to 6 for one query, on codes of int8.

==========  ===================================================================================
``search``  one query from end to end
``handle``  through which the arrays come; ``scratch`` the memory of a thread
``routing`` a query as codes, the clusters that it explores
``logits``  a query as codes, products with rows of codes or floats
``steps``   where walks end, the walk
``filter``  the edges that lead to some labels
==========  ===================================================================================

Numba only: the oracle is the index that an engine is made of (``tests/engine/test_engine.py``).
"""
