"""Waiting for transcriptions: looking as rarely as will do, and never changing anything at the service."""
