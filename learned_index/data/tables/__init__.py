"""Tables that people have: CSV, TSV, Parquet, JSON lines, one row a point."""
