"""Values and decisions: standard library and phonenumbers only; no await, no clock, no dice, no I/O."""
