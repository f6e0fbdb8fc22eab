"""The orders there are, and whether they are in force."""
