"""A real Apache Kafka without Docker: a Java runtime from a wheel, Kafka from Maven Central."""
