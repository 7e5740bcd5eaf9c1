"""The `li` command."""
