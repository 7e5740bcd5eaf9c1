"""File formats of data folders."""
