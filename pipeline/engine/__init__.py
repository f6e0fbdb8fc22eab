"""Faust made loss-free, and the fenced table. Knows no touch."""
