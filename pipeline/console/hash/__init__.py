"""The name of an address in records, and which `privacy.key` names it."""
