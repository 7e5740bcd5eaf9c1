"""What users hand in: each kind of input has one check, which every part of the package calls.

=============  ==================================================================================
``numbers``    whole and real numbers: k, knobs, values of configurations
``vectors``    dense vectors and queries
``matrices``   sparse matrices: the one way to canonical CSR
``labels``     labels of points, positives of a batch, lists and masks of labels to find or not
``points``     texts, or rows of sparse features
=============  ==================================================================================

What comes out can be handed to compiled code, which checks nothing.
"""
