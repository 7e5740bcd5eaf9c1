"""Stages, losses, optimisers and schedules."""
