"""The few hot operations, each in a plain torch version and a fast CPU version."""
