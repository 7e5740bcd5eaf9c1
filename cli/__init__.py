"""The ``li`` command line."""

from learned_index.cli.main import main

__all__ = ["main"]
