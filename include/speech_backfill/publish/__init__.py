"""Publishing: make a partition visible as a whole, and report what became of it."""
