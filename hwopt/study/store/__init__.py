"""The store of a study: the SQLite file, checkpoints, results read from them."""
