"""Tasks that wait for something at the service."""
