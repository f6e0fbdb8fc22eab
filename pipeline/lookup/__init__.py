"""The look-up copy: what each web process keeps of the public topics in a folder of its own, found by any id."""
