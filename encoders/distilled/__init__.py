"""Fast encoders made from a slow one: tables of vectors of word pieces and words, summed."""
