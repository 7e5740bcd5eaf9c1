"""Saved predictions: what labels somebody, or some system, has for each point."""
