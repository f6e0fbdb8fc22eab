"""What people use: the commands, one folder each (command, work, view), and the endpoints on the web port."""
