"""Tokens of the web process's users."""
