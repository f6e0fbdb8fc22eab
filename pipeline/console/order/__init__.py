"""Orders an operator gives: pause, resume, cancel."""
