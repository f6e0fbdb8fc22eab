"""The steps of the road, each a pure function of (batch, table, now): no await, no clock, no dice, no I/O."""
