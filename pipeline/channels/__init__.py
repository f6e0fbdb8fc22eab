"""One room per channel, the same files in each: payload, verdict, sender, resolve. Rooms do not know each other."""
