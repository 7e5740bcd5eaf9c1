"""The model in other frameworks, one file each, which imports its framework when it is used.

Each is small: it translates the framework's words into those of :class:`learned_index.ELIAS` and
:class:`learned_index.SearchEngine`, and computes nothing of its own.
"""
