"""Measures of the whole product on one machine."""
