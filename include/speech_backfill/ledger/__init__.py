"""The ledger: what was asked of the service and paid for, in SQL. Thousands of rows, never one for each audio file."""
