"""Adds partitions to a pipeline that has run."""
