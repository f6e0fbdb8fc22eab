"""Whether everything that a worker needs is in place."""
