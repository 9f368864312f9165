"""Many writes of the same bytes, handed to the kernel by one system call, where it gives no io_uring.

The part of Linux AIO that the broadcast needs, over the raw system calls (io_setup(2), io_submit(2), io_getevents(2)),
which containers' default seccomp profile allows. A block holds one prepared control block (iocb) per socket:

    WriteBlock    | iocb 0 | iocb 1 | ... |  64 bytes each; all point at one buffer, which holds the frame
    pointers      |    0   |    1   | ... |  what `io_submit` takes

- A socket that does not block is written to while its control block is submitted, so no write outlives `submit`.
- A void write has no descriptor. The kernel refuses it, and goes on with the next one in a further call.
"""

from __future__ import annotations

import ctypes
import errno
import os
from array import array
from collections.abc import Sequence
from typing import Final

from observability.stream.batches.block import ENTRY_BYTES, ENTRY_WORDS, MAX_BATCH, Block, address_of, call

# The numbers of io_setup, io_destroy, io_getevents and io_submit.
_SYSTEM_CALLS: Final = {("Linux", "x86_64"): (206, 207, 208, 209), ("Linux", "aarch64"): (0, 1, 4, 2)}
_PWRITE: Final = 1
_NO_DESCRIPTOR: Final = 0xFFFFFFFF

# An iocb is 16 words of 4 bytes: which of them hold what. An event is 4 words of 8 bytes.
_WORD_OPERATION: Final = 4
_WORD_DESCRIPTOR: Final = 5
_EVENT_WORDS: Final = 4
_WORD_INDEX: Final = 0
_WORD_RESULT: Final = 2


class WriteContext:
    """One context of Linux AIO. Use it in the thread and the process that made it.

    Raises OSError where the kernel has none, or does not allow it.
    """

    def __init__(self) -> None:
        host = os.uname()
        numbers = _SYSTEM_CALLS.get((host.sysname, host.machine))
        if numbers is None:
            raise OSError(errno.ENOSYS, f"no Linux AIO is known for {host.sysname} on {host.machine}")
        setup, self._destroy, self._getevents, self._submit = numbers
        self._context = ctypes.c_ulong(0)
        call(setup, MAX_BATCH, ctypes.byref(self._context))
        self._events = memoryview(bytearray(MAX_BATCH * _EVENT_WORDS * 8)).cast("q")
        self._events_address = ctypes.c_void_p(address_of(self._events))

    def close(self) -> None:
        """Gives the context back."""
        call(self._destroy, self._context)

    def make_block(self, preface: bytes = b"") -> Block:
        return WriteBlock(preface)

    def register(self, fd: int) -> int:
        """Returns the place of a socket in a block: its number, which must be voided or removed before it is closed."""
        return fd

    def unregister(self, place: int) -> None:
        """The context knows no sockets."""

    def submit(self, block: Block, start: int, end: int) -> Sequence[tuple[int, int]]:
        """Writes the block's buffer to its sockets from `start` to before `end`, at most `MAX_BATCH` of them. Returns
        the index of each socket that did not take all of it, with the bytes it took, or a negative errno."""
        # hot: once per batch of clients per tick (observability bench --only fanout)
        assert isinstance(block, WriteBlock)
        assert 0 < end - start <= MAX_BATCH
        found: list[tuple[int, int]] = []
        accepted, index = 0, start
        while index < end:
            try:
                count = call(self._submit, self._context, end - index, ctypes.c_void_p(block.pointer(index)))
            except OSError as error:
                if not block.is_void(index):
                    found.append((index, -(error.errno or errno.EIO)))
                count = 1
            else:
                accepted += count
            index += count
        if accepted:
            found += self._events_of(accepted, block)
        return found

    def _events_of(self, count: int, block: Block) -> Sequence[tuple[int, int]]:
        """Reads the events of so many writes; returns those that wrote less than they should."""
        events = self._events
        got = call(self._getevents, self._context, count, MAX_BATCH, self._events_address, None)
        assert got == count, "a write has more than one event"
        results = events[_WORD_RESULT : got * _EVENT_WORDS : _EVENT_WORDS].tolist()
        # One that is sent the preface too may lack just as many bytes.
        if not block.has_prefaced and results.count(block.length) == got:
            return ()
        indexes = events[_WORD_INDEX : got * _EVENT_WORDS : _EVENT_WORDS].tolist()
        return [
            (index, result) for index, result in zip(indexes, results, strict=True) if result != block.length_of(index)
        ]


class WriteBlock(Block):
    """The prepared writes of one set of sockets. The place of a socket is its number."""

    _WORD_INDEX = 0
    _WORD_ADDRESS = 6
    _WORD_LENGTH = 8

    def pointer(self, index: int) -> int:
        """Returns the address of the pointers to the control blocks from `index` on."""
        return self._pointers_address + index * self._pointers.itemsize

    def is_void(self, index: int) -> bool:
        return self._places[index] is None

    def _grow(self, capacity: int) -> None:
        super()._grow(capacity)
        self._pointers = array("Q", range(self.address, self.address + capacity * ENTRY_BYTES, ENTRY_BYTES))
        self._pointers_address = self._pointers.buffer_info()[0]

    def _write(self, index: int, place: int | None) -> None:
        word = index * ENTRY_WORDS
        self.words[word + _WORD_OPERATION] = _PWRITE
        self.words[word + _WORD_DESCRIPTOR] = _NO_DESCRIPTOR if place is None else place
