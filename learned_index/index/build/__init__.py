"""From vectors and labels to the first state of an index: clustering, partition, regions."""
