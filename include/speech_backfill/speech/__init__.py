"""The Speech service as the core sees it: typed answers, typed errors, one POST for each submission."""
