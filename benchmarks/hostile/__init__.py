"""Hostile files: many damaged inputs, tried in processes with limits, and counted by outcome."""
