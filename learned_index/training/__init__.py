"""Stages, optimisers, checkpoints, processes that train together."""
