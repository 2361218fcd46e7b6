"""The DuckDB file: its format, how it is opened, and how it is written to the disk."""

import duckdb

MEMORY = "2GB"
# DuckDB writes its log into the file at this size. At its default of 16 MB, ingest writes the file again every few
# pieces: it was four times slower, and the file larger.
CHECKPOINT = "512MB"
# The first DuckDB format with zstd for texts is older; this is the one that the pinned release writes.
FORMAT = "v1.5.0"
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": MEMORY,
    "checkpoint_threshold": CHECKPOINT,
    # A thread ends its work on a query after some 100,000 rows. To change the number of threads, DuckDB waits for this,
    # and every statement that ends in this time waits too.
    "scheduler_process_partial": True,
}
# The ending of the copy that replaces the file. One that a crash left is no store.
REWRITTEN = ".rewritten"


def connect(path: str) -> duckdb.DuckDBPyConnection:
    """Open a file. One that an older release made gets the format of this one, which it keeps from then on."""
    connection = duckdb.connect(path, config=CONFIG)
    (tags,) = connection.execute(
        "SELECT tags FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchall()[0]
    if path == ":memory:" or tags.get("storage_version") == f"{FORMAT}+":
        return connection
    connection.close()
    with duckdb.connect(":memory:", config=CONFIG) as changing:
        quoted = path.replace("'", "''")
        changing.execute(f"ATTACH '{quoted}' AS store (STORAGE_VERSION '{FORMAT}')")
        # The format changes with the first checkpoint that has something to write.
        changing.execute("CREATE TABLE store.format_change (n INTEGER); DROP TABLE store.format_change")
        changing.execute("CHECKPOINT store")
        changing.execute("DETACH store")
    return duckdb.connect(path, config=CONFIG)
