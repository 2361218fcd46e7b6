"""The DuckDB store: migrations, SQL by table, and the typed functions that call it."""
