"""The three providers on one loopback port, as they really behave: for demos, tests, and trying without an account."""
