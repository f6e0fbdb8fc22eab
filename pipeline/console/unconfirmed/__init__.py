"""Touches that may or may not have been sent: listed, resolved, sent again."""
