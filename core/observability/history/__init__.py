"""The past in memory of fixed size: rings of rows in three resolutions, the series over them, and queries."""
