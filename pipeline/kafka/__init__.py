"""Kafka as the commands and the start need it: connecting, topics, reading a topic to its end, delivering."""
