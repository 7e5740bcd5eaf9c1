"""A learned search index for very large output spaces."""
