"""Benchmarks of what must not break: kills at random moments."""
