"""Connections of Airflow become resources and accounts of the core."""
