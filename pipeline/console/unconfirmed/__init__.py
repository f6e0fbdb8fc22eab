"""Touches of which nobody knows whether they were sent: listed, resolved, sent again."""
