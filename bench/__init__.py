"""Measurements against alternatives, each printed by a command; no figure in the documents comes from anywhere else."""
