"""Opt-outs by WhatsApp whose number is not known: listed, and resolved by an operator."""
