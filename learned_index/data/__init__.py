"""Data formats, label vocabulary, data sets."""
