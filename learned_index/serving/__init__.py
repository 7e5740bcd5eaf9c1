"""Trained models over HTTP: ``li serve``."""
