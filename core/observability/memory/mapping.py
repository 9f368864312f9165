"""The mapping that hub and workers share: created before the first fork, freed with the last process that has it."""

from __future__ import annotations

import mmap
from enum import IntEnum
from typing import Final

from observability.memory import layout
from observability.memory.counters import Counters
from observability.memory.entry_log import EntryLog
from observability.memory.record_ring import RecordRing

HUB_SLOT: Final = 0
HUB: Final = "hub"


class ProcessState(IntEnum):
    """The stage in the life of the process in a slot."""

    FREE = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


class _Word:
    """One word of a slot, as an attribute."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, slot: ProcessSlot, owner: type[ProcessSlot]) -> int:
        return slot.words[self._index]

    def __set__(self, slot: ProcessSlot, value: int) -> None:
        slot.words[self._index] = value


class ProcessSlot:
    """The words about one process; `layout.py` says which process writes which."""

    pid = _Word(layout.SLOT_PID)
    state = _Word(layout.SLOT_STATE)
    started_ns = _Word(layout.SLOT_STARTED_NS)
    """By the monotonic clock."""
    websockets = _Word(layout.SLOT_WEBSOCKETS)
    connections = _Word(layout.SLOT_CONNECTIONS)
    behind = _Word(layout.SLOT_BEHIND)
    sent_seq = _Word(layout.SLOT_SENT_SEQ)
    sent_ns = _Word(layout.SLOT_SENT_NS)
    taken_seq = _Word(layout.SLOT_TAKEN_SEQ)
    lane_backlog = _Word(layout.SLOT_BACKLOG)

    def __init__(
        self, number: int, words: memoryview[int], counters_memory: memoryview[int], first_role: str = HUB
    ) -> None:
        """`first_role` is what the process in slot 0 is to the others."""
        self.number = number
        self._first_role = first_role
        self.words = words
        self._counters_memory = counters_memory

    @property
    def name(self) -> str:
        return self._first_role if self.number == HUB_SLOT else f"worker-{self.number}"

    @property
    def role(self) -> str:
        return self._first_role if self.number == HUB_SLOT else "worker"

    def counters(self) -> Counters:
        """Returns the counters of this slot, with all that its processes have counted so far."""
        return Counters(self._counters_memory)

    def occupy(self, pid: int, now_ns: int) -> None:
        """Records that a process has been started in this slot."""
        self.clear()
        self.started_ns = now_ns
        self.state = ProcessState.STARTING
        self.pid = pid

    def clear(self) -> None:
        """Clears the words about a process that has ended; its counters stay, except the gauges, which become 0."""
        self.words[:] = _NOTHING
        self.counters().zero_gauges()


_NOTHING = memoryview(bytes(layout.SLOT_WORDS * layout.WORD_BYTES)).cast("q")


class SharedMapping:
    """One anonymous mapping and its regions."""

    def __init__(
        self,
        slots: int,
        max_symbols: int,
        history_bytes: int = 0,
        max_positions: int = 0,
        *,
        first_role: str = HUB,
    ) -> None:
        """`first_role` is what the process in slot 0 is to the others: the hub, or an edge that is in its place."""
        self.layout = layout.SharedLayout(slots, max_symbols, history_bytes, max_positions)
        self._memory: memoryview[int] = memoryview(mmap.mmap(-1, self.layout.size))
        self._header: memoryview[int] = self._memory[: layout.HEADER_WORDS * layout.WORD_BYTES].cast("q")
        region = self.layout.slots_region
        words: memoryview[int] = self._memory[region.offset : region.end].cast("q")
        self.slots = tuple(
            ProcessSlot(
                number,
                words[number * layout.SLOT_WORDS : (number + 1) * layout.SLOT_WORDS],
                self._part(self.layout.counters_region(number)),
                first_role,
            )
            for number in range(slots)
        )

    @property
    def size_bytes(self) -> int:
        return self.layout.size

    @property
    def hub(self) -> ProcessSlot:
        return self.slots[HUB_SLOT]

    @property
    def workers(self) -> tuple[ProcessSlot, ...]:
        return self.slots[HUB_SLOT + 1 :]

    @property
    def generation(self) -> int:
        """The number of hubs started so far; set by the supervisor."""
        return self._header[layout.HEADER_GENERATION]

    @generation.setter
    def generation(self, value: int) -> None:
        self._header[layout.HEADER_GENERATION] = value

    @property
    def event_clock_ns(self) -> int | None:
        """The event time of the newest tick if it is not the host's time, None otherwise; set by the hub."""
        return self._header[layout.HEADER_EVENT_CLOCK_NS] or None

    @event_clock_ns.setter
    def event_clock_ns(self, value: int | None) -> None:
        self._header[layout.HEADER_EVENT_CLOCK_NS] = value or 0

    def frames(self) -> RecordRing:
        """Returns this process's view of the ring of frames."""
        return RecordRing(self._part(self.layout.frames_region), layout.FRAME_SLOTS, self.layout.frame_bytes)

    def documents(self) -> RecordRing:
        """Returns this process's view of the ring of documents: those of the newest ticks."""
        return RecordRing(self._part(self.layout.documents_region), layout.DOCUMENT_SLOTS, self.layout.document_bytes)

    def lanes(self) -> dict[str, EntryLog]:
        """Returns this process's view of the lanes, by channel."""
        return {
            name: EntryLog(self._part(self.layout.lane_region(i)), layout.LANE_ENTRIES, layout.LANE_DATA_BYTES)
            for i, name in enumerate(layout.LANES)
        }

    def logs(self) -> dict[str, EntryLog]:
        """Returns this process's view of the logs: the supervisor's, each slot's by its name, the engine's."""
        names = (*(slot.name for slot in self.slots), *layout.FURTHER_LOGS)
        logs = {
            name: EntryLog(self._part(self.layout.log_region(i)), layout.LOG_ENTRIES, layout.LOG_DATA_BYTES)
            for i, name in enumerate(names)
        }
        return {layout.SUPERVISOR: logs.pop(layout.SUPERVISOR), **logs}

    def history_memory(self) -> memoryview[int]:
        """Returns the bytes of the history."""
        return self._part(self.layout.history_region)

    def _part(self, region: layout.Region) -> memoryview[int]:
        return self._memory[region.offset : region.end]
