"""The tables: their schemas, the Parquet parts that merge writes, and the door through which people read them."""
