"""The laboratory: a local Kafka, the demo, the simulation. Not in the wheel; no product package imports it."""
