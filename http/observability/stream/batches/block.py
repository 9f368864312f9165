"""Blocks of prepared sends, and the system calls that take them."""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

MAX_BATCH: Final = 255
ENTRY_BYTES: Final = 64
ENTRY_WORDS: Final = ENTRY_BYTES // 4
_MIN_BUFFER_BYTES: Final = 16 * 1024

# It holds the interpreter's lock during the call, as a socket's send in C does: another thread that took the lock
# meanwhile would keep the loop waiting for its whole time slice.
_libc = ctypes.PyDLL(None, use_errno=True)
syscall = _libc.syscall
syscall.restype = ctypes.c_long


class Batches(Protocol):
    """A way to hand many sends to the kernel by one system call."""

    def make_block(self) -> Block:
        """Returns the prepared sends of one set of sockets, which has none yet."""

    def register(self, fd: int) -> int | None:
        """Returns the place of a socket in a block; None if there is no room for it."""

    def unregister(self, place: int) -> None: ...

    def submit(self, block: Block, start: int, end: int) -> Sequence[tuple[int, int]]:
        """Sends the block's frame to its sockets from `start` to before `end`, at most `MAX_BATCH` of them. Returns the
        index of each socket that did not take all of it, with the bytes it took, or a negative errno."""

    def close(self) -> None: ...


class Block(ABC):
    """The prepared sends of one set of sockets, in an order that may change: a removed one is replaced by the last.

    An entry has 64 bytes; a subclass says what its words are."""

    # Which words of an entry hold the index, and the address and the length of the frame.
    _WORD_INDEX: ClassVar[int]
    _WORD_ADDRESS: ClassVar[int]
    _WORD_LENGTH: ClassVar[int]

    def __init__(self) -> None:
        self._places: list[int | None] = []
        self._capacity = 0
        self.words: memoryview[int] = memoryview(bytearray()).cast("I")
        """The entries, and room for more."""
        self._buffer = bytearray(_MIN_BUFFER_BYTES)
        self.length = 0
        """The bytes of the frame."""
        self._grow(64)

    def __len__(self) -> int:
        return len(self._places)

    def append(self, place: int) -> None:
        """Adds the socket at a place."""
        index = len(self._places)
        if index == self._capacity:
            self._grow(2 * self._capacity)
        self._places.append(place)
        self._write(index, place)

    def void(self, index: int) -> int | None:
        """Makes the send at `index` do nothing. Returns the place of its socket; None if it had none."""
        place, self._places[index] = self._places[index], None
        self._write(index, None)
        return place

    def remove(self, index: int) -> int | None:
        """Removes the send at `index`, and moves the last one there. Returns the place of its socket."""
        place = self._places[index]
        last = self._places.pop()
        if index < len(self._places):
            self._places[index] = last
            self._write(index, last)
        return place

    def set_frame(self, header: bytes, payload: bytes | bytearray | memoryview[int], offset: int = 0) -> None:
        """Puts one frame into the buffer: `header`, then `payload` from `offset` on."""
        size = len(payload) - offset
        length = len(header) + size
        if length > len(self._buffer):
            self._buffer = bytearray(2 * length)
            self._set_address()
        view = memoryview(self._buffer)
        view[: len(header)] = header
        view[len(header) : length] = memoryview(payload)[offset:]
        if length != self.length:
            self.length = length
            self._fill(self._WORD_LENGTH, length)

    def unsent(self, sent_bytes: int) -> bytes:
        """Returns the part of the frame after its first `sent_bytes` bytes."""
        return bytes(memoryview(self._buffer)[sent_bytes : self.length])

    def _grow(self, capacity: int) -> None:
        self._capacity = capacity
        self.words = memoryview(bytearray(capacity * ENTRY_BYTES)).cast("I")
        self.address = address_of(self.words)
        self.words[self._WORD_INDEX :: ENTRY_WORDS] = memoryview(array("I", range(capacity)))
        self._fill(self._WORD_LENGTH, self.length)
        self._set_address()
        for index, place in enumerate(self._places):
            self._write(index, place)

    def _set_address(self) -> None:
        address = address_of(self._buffer)
        self._fill(self._WORD_ADDRESS, address & 0xFFFFFFFF)
        self._fill(self._WORD_ADDRESS + 1, address >> 32)

    def _fill(self, word: int, value: int) -> None:
        self.words[word::ENTRY_WORDS] = memoryview(array("I", [value]) * self._capacity)

    @abstractmethod
    def _write(self, index: int, place: int | None) -> None:
        """Prepares the send to the socket at a place, or one that does nothing."""


def address_of(memory: bytearray | memoryview[int]) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def call(*arguments: object) -> int:
    """Makes a system call. Raises OSError."""
    result: int = syscall(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
