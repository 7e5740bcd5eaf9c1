"""The index itself: clustering, router, cluster-label graph, training, search.

Import from the modules: the configurations (:mod:`.config`) need no torch.
"""
