"""What people use: the commands `produce`, `status` and `check`, and the endpoints on the web port."""
