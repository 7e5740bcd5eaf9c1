"""A model measured on data, and what its index has learned."""
