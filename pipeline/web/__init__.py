"""The web process: takes callbacks and unsubscribe clicks on its public listener; health, metrics and what operators see on its private one."""
