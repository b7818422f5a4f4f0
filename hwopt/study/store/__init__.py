"""Store of a study: SQLite file, checkpoints, and results read from them."""
