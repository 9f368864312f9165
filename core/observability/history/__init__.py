"""History in memory of fixed size: rings of rows in three resolutions, the series and tables over them, and queries.

The hub writes it, any process reads it, and it outlives the hub; finished minutes are also kept in the store.
"""
