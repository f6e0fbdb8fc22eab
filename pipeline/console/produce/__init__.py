"""Touches from a file into Kafka."""
