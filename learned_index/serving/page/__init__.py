"""The web page: three files that are read once, and sent as they are."""
