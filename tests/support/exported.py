"""Reads the files that exports make."""

from __future__ import annotations

import io

import pyarrow
import pyarrow.parquet


def table(kind: str, data: bytes) -> pyarrow.Table:
    """Returns the table of an Arrow stream or of a Parquet file."""
    if kind == "arrow":
        return pyarrow.ipc.open_stream(data).read_all()
    return pyarrow.parquet.ParquetFile(io.BytesIO(data)).read(use_threads=False)
