"""One folder per channel, with the same files: spec, payload, verdict, sender, resolve. Channels do not import each other."""
