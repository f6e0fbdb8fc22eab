"""When the backlog will be done."""
