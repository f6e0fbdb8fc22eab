"""Who must not be written to: entries added, removed, listed, exported, imported."""
