"""The console's pages: what happened to a touch, why it waits, who stopped it. Rendered on the server, whole without script."""
