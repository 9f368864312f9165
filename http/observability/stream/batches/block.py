"""Blocks of prepared sends, and the system calls that take them."""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Protocol

MAX_BATCH: Final = 511
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

    def make_block(self, preface: bytes = b"") -> Block:
        """Returns the prepared sends of one set of sockets, which has none yet. Sockets may be sent `preface` in front
        of a frame."""

    def register(self, fd: int) -> int | None:
        """Returns the place of a socket in a block; None if there is no room for it."""

    def unregister(self, place: int) -> None: ...

    def submit(self, block: Block, start: int, end: int) -> Sequence[tuple[int, int]]:
        """Sends the block's frame to its sockets from `start` to before `end`, at most `MAX_BATCH` of them. Returns the
        index of each socket that did not take all of it, with the bytes it took, or a negative errno."""

    def close(self) -> None: ...


class Block(ABC):
    """The prepared sends of one set of sockets, in an order that may change: a removed one is replaced by the last.

    An entry has 64 bytes; a subclass says what its words are. All entries point into one buffer:

        | preface | header | payload |
        ^         ^
        |         what most entries point at
        what those point at whose sockets are sent the preface too
    """

    # Which words of an entry hold the index, and the address and the length of the frame.
    _WORD_INDEX: ClassVar[int]
    _WORD_ADDRESS: ClassVar[int]
    _WORD_LENGTH: ClassVar[int]

    def __init__(self, preface: bytes = b"") -> None:
        self._preface = preface
        # Which entries are sent the preface.
        self._prefaced: frozenset[int] = frozenset()
        self._places: list[int | None] = []
        self._capacity = 0
        self.words: memoryview[int] = memoryview(bytearray()).cast("I")
        """The entries, and room for more."""
        self._set_buffer(_MIN_BUFFER_BYTES)
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
        length = len(header) + len(payload) - offset
        start = len(self._preface)
        if start + length > len(self._buffer):
            self._set_buffer(2 * length)
            self._set_address()
        view = memoryview(self._buffer)
        view[start : start + len(header)] = header
        view[start + len(header) : start + length] = memoryview(payload)[offset:]
        if length != self.length:
            self.length = length
            self._set_length()

    def set_prefaced(self, indexes: Iterable[int]) -> None:
        """Puts the preface in front of the frames to these sockets, and of no other, until it is called again."""
        before, self._prefaced = self._prefaced, frozenset(indexes)
        for index in before:
            self._point(index, 0)
        self._point_to_preface()

    @property
    def has_prefaced(self) -> bool:
        """Whether any socket is sent the preface."""
        return bool(self._prefaced)

    def length_of(self, index: int) -> int:
        """Returns how many bytes the socket at `index` is sent."""
        return self.length + (len(self._preface) if index in self._prefaced else 0)

    def unsent(self, index: int, sent_bytes: int) -> bytes:
        """Returns what the socket at `index` is sent behind the first `sent_bytes` bytes."""
        end = len(self._preface) + self.length
        return bytes(memoryview(self._buffer)[end - self.length_of(index) + sent_bytes : end])

    def _grow(self, capacity: int) -> None:
        self._capacity = capacity
        self.words = memoryview(bytearray(capacity * ENTRY_BYTES)).cast("I")
        self.address = address_of(self.words)
        self.words[self._WORD_INDEX :: ENTRY_WORDS] = memoryview(array("I", range(capacity)))
        self._set_length()
        self._set_address()
        for index, place in enumerate(self._places):
            self._write(index, place)

    def _set_buffer(self, size: int) -> None:
        self._buffer = bytearray(len(self._preface) + size)
        self._buffer[: len(self._preface)] = self._preface
        self._frame_address = address_of(self._buffer) + len(self._preface)

    def _set_length(self) -> None:
        self._fill(self._WORD_LENGTH, self.length)
        self._point_to_preface()

    def _set_address(self) -> None:
        self._fill(self._WORD_ADDRESS, self._frame_address & 0xFFFFFFFF)
        self._fill(self._WORD_ADDRESS + 1, self._frame_address >> 32)
        self._point_to_preface()

    def _point_to_preface(self) -> None:
        for index in self._prefaced:
            self._point(index, len(self._preface))

    def _point(self, index: int, preface_bytes: int) -> None:
        """Lets the entry at `index` begin so many bytes before the frame."""
        word, address = index * ENTRY_WORDS, self._frame_address - preface_bytes
        self.words[word + self._WORD_LENGTH] = self.length + preface_bytes
        self.words[word + self._WORD_ADDRESS] = address & 0xFFFFFFFF
        self.words[word + self._WORD_ADDRESS + 1] = address >> 32

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
