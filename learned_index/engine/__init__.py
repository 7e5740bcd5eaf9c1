"""The search engine: a trained index laid out for speed, read-only, memory-mapped."""
