"""Metrics, the comparison harness, reports."""
