"""Encoders around pretrained transformers: loading, tokens, batches, and the two kinds of model."""
