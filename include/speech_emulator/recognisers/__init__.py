"""Turning one audio file into phrases: a real offline recogniser and a synthetic one for load tests."""
