"""Records that could not become touches: listed, shown, replayed."""
