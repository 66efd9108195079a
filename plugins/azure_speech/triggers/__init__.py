"""What waits in the triggerer; only looks."""
