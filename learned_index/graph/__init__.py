"""The index itself: clustering, cluster-label graph, router, search."""
