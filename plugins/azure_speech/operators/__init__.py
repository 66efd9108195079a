"""Tasks that change something at the service."""
