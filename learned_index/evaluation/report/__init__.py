"""All about a model on one page: figures, curves, examples and its card as one HTML file."""
