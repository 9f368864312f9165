"""The files that the book begins with: what instruments are, and the positions that were open before."""

from __future__ import annotations

import asyncio
import logging

from observability.config.config import Config
from observability.errors import ConfigError
from observability.ingest.gate import IngestGate
from observability.ingest.instrument_file import load_instruments
from observability.ingest.position_file import load_positions
from observability.instruments.table import InstrumentTable

logger = logging.getLogger(__name__)


class BookFiles:
    """Publishes what the files say and is not known yet. They could be read when the server started, so that faults are
    those of a later reading, and leave everything as it is."""

    def __init__(self, config: Config, known: InstrumentTable, gate: IngestGate) -> None:
        self._instruments = config.instruments
        self._positions = config.positions
        self._known = known
        self._gate = gate
        # The newest reading, which the loop alone would not keep.
        self._reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Describes the instruments, then adopts the positions."""
        await self._describe_instruments()
        await self._adopt_positions()

    def read_instruments_again(self) -> None:
        """Begins to describe the instruments anew."""
        if self._instruments is not None:
            self._reading = asyncio.get_running_loop().create_task(self._describe_instruments())

    async def _describe_instruments(self) -> None:
        try:
            instruments = load_instruments(self._instruments)
        except ConfigError as error:
            logger.error("the instruments are not read again; those known stay: %s", error)
            return
        new = [each for each in instruments if not self._known.knows(self._known.described_by(each))]
        if new:
            outcome = (await self._gate.take_read(new, source="instruments")).outcome
            for fault in outcome.faults:
                logger.error("an instrument of %s is refused: %s", self._instruments, fault["error"])
            logger.info("%d instruments are described anew, %d are refused", outcome.accepted, outcome.rejected)

    async def _adopt_positions(self) -> None:
        try:
            positions = load_positions(self._positions)
        except ConfigError as error:
            logger.error("the opening positions are not read again: %s", error)
            return
        if positions:
            outcome = (await self._gate.take_read(positions, source="positions")).outcome
            for fault in outcome.faults:
                logger.error("an opening position of %s is not adopted: %s", self._positions, fault["error"])
            logger.info(
                "%d opening positions are adopted, %d were known already, %d are refused",
                outcome.accepted, outcome.duplicates, outcome.rejected,
            )  # fmt: skip
