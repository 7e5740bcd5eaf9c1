"""Whole systems, each tuned as its users tune it, beside saved models: who is ahead, who ties."""
