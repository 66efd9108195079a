"""What `make` runs: installing into the checkout, and the local stack of Azurite, the Speech emulator and Airflow.

Nothing of the product imports it, and it knows the product only by its commands, its DAGs and its tables.
"""
