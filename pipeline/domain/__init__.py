"""Values and decisions: no await, no clock, no dice, no I/O. Beside the standard library: phonenumbers and email-validator."""
