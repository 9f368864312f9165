"""Many sends of the same bytes, handed to the kernel by one system call.

The part of io_uring that the broadcast needs, over the raw system calls of Linux 6.1 or newer (io_uring_setup(2),
io_uring_enter(2), io_uring_register(2)). A block holds one prepared submission entry (SQE) per socket. To send, the
block is copied into the ring and entered:

    SendBlock   | SQE 0 | SQE 1 | ... |  64 bytes each; all point at one buffer, which holds the frame
                    |       |
                    v       v             one copy, one io_uring_enter per `submit`
    SendRing    | SQE   | SQE   | ... | NOP |
                                         |
    completions | only what failed or was cut short | NOP |

- `MSG_DONTWAIT` makes each send finish while it is submitted, so no request outlives `submit`. The NOP at the end of a
  batch proves it: its completion is the last one.
- `MSG_WAITALL` with `IOSQE_CQE_SKIP_SUCCESS` leaves a completion only for a send that failed or was cut short.
- Sockets are registered files. The ring holds the open socket itself, not its number, so bytes never reach another
  socket that was given the number of a closed one.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
from array import array
from collections.abc import Sequence
from typing import Final

from observability.stream.batches.block import ENTRY_BYTES, ENTRY_WORDS, MAX_BATCH, Block, call, syscall

_SYS_SETUP: Final = 425
_SYS_ENTER: Final = 426
_SYS_REGISTER: Final = 427

_OFFSET_SQ_RING: Final = 0
_OFFSET_SQES: Final = 0x10000000
_SETUP_SUBMIT_ALL: Final = 1 << 7
_SETUP_COOP_TASKRUN: Final = 1 << 8
_SETUP_SINGLE_ISSUER: Final = 1 << 12
_FEATURE_SINGLE_MMAP: Final = 1 << 0
_FEATURE_CQE_SKIP: Final = 1 << 11
_REGISTER_FILES_UPDATE: Final = 6
_REGISTER_FILES2: Final = 13
_REGISTER_SPARSE: Final = 1

_OP_NOP: Final = 0
_OP_SEND: Final = 26
_SQE_FIXED_FILE: Final = 1 << 0
_SQE_CQE_SKIP_SUCCESS: Final = 1 << 6
_SEND_FLAGS: Final = 0x40 | 0x100 | 0x4000  # MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL

# Operation and flags of an SQE, in its first word.
_SILENT_SEND: Final = _OP_SEND | (_SQE_FIXED_FILE | _SQE_CQE_SKIP_SUCCESS) << 8
_SILENT_NOP: Final = _OP_NOP | _SQE_CQE_SKIP_SUCCESS << 8

# An SQE is 16 words of 4 bytes: which of them hold what.
_WORD_FILE: Final = 1
_WORD_FLAGS: Final = 7
_WORD_USER_DATA: Final = 8
_CQE_WORDS: Final = 4
_END_OF_BATCH: Final = 0xFFFFFFFF

_ENTRIES: Final = MAX_BATCH + 1
_RING_WORDS: Final = _ENTRIES * ENTRY_WORDS

# The SQE that ends a batch.
_NOP: Final = memoryview(array("I", [0] * ENTRY_WORDS))
_NOP[_WORD_USER_DATA] = _END_OF_BATCH


class _Offsets(ctypes.Structure):
    _fields_ = (
        ("head", ctypes.c_uint32), ("tail", ctypes.c_uint32), ("ring_mask", ctypes.c_uint32),
        ("ring_entries", ctypes.c_uint32), ("word4", ctypes.c_uint32), ("word5", ctypes.c_uint32),
        ("word6", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("user_address", ctypes.c_uint64),
    )  # fmt: skip


class _Parameters(ctypes.Structure):
    _fields_ = (
        ("sq_entries", ctypes.c_uint32), ("cq_entries", ctypes.c_uint32), ("flags", ctypes.c_uint32),
        ("sq_thread_cpu", ctypes.c_uint32), ("sq_thread_idle", ctypes.c_uint32), ("features", ctypes.c_uint32),
        ("wq_fd", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 3), ("sq", _Offsets), ("cq", _Offsets),
    )  # fmt: skip


class _FilesTable(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("reserved", ctypes.c_uint64),
        ("data", ctypes.c_uint64), ("tags", ctypes.c_uint64),
    )  # fmt: skip


class _FilesUpdate(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("fds", ctypes.c_uint64))


class SendRing:
    """One ring and its table of sockets. Use it in the thread and the process that made it.

    Raises OSError where the kernel has no io_uring, or does not allow it (the default seccomp profile of containers).
    """

    def __init__(self, max_sockets: int) -> None:
        """`max_sockets` is the size of the table; less if the process may have fewer open files."""
        parameters = _Parameters(flags=_SETUP_SUBMIT_ALL | _SETUP_COOP_TASKRUN | _SETUP_SINGLE_ISSUER)
        self._fd = call(_SYS_SETUP, _ENTRIES, ctypes.byref(parameters))
        try:
            wanted = _FEATURE_SINGLE_MMAP | _FEATURE_CQE_SKIP
            if parameters.features & wanted != wanted:
                raise OSError(errno.ENOSYS, "this kernel's io_uring cannot skip completions")
            self._map(parameters)
            self.max_sockets = min(max_sockets, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            table = _FilesTable(count=self.max_sockets, flags=_REGISTER_SPARSE)
            call(_SYS_REGISTER, self._fd, _REGISTER_FILES2, ctypes.byref(table), ctypes.sizeof(table))
        except BaseException:
            os.close(self._fd)
            raise
        # The end of the submission queue. The kernel reads it, and only this object writes it.
        self._tail: int = self._ring[self._sq_tail_word]
        self._free = list(range(self.max_sockets - 1, -1, -1))
        self._update_fd = ctypes.c_int32(-1)
        self._update = _FilesUpdate(fds=ctypes.addressof(self._update_fd))

    def close(self) -> None:
        """Closes the ring; the sockets in its table stay open only where others hold them."""
        os.close(self._fd)

    def make_block(self, preface: bytes = b"") -> SendBlock:
        return SendBlock(preface)

    def register(self, fd: int) -> int | None:
        """Puts a socket into the table and returns its place; None if the table is full."""
        if not self._free:
            return None
        place = self._free.pop()
        try:
            self._set_file(place, fd)
        except OSError:
            self._free.append(place)
            raise
        return place

    def unregister(self, place: int) -> None:
        """Removes a socket from the table: until then it stays open for its peer, even if its number is closed."""
        self._set_file(place, -1)
        self._free.append(place)

    def submit(self, block: Block, start: int, end: int) -> Sequence[tuple[int, int]]:
        """Sends the block's buffer to its sockets from `start` to before `end`, at most `MAX_BATCH` of them. Returns
        the index of each socket that did not take all of it, with the bytes it took, or a negative errno."""
        # hot: once per batch of clients per tick (observability bench --only fanout). After the batch before, most of
        # what this touches is in no cache, so it touches little.
        count = end - start
        assert 0 < count <= MAX_BATCH
        tail: int = self._tail
        first = (tail & self._sq_mask) * ENTRY_WORDS
        sends = block.words[start * ENTRY_WORDS : end * ENTRY_WORDS]
        behind = first + len(sends)
        if behind < _RING_WORDS:
            self._sqes[first:behind] = sends
            self._sqes[behind : behind + ENTRY_WORDS] = _NOP
        else:
            self._copy_around(first, sends)
        self._tail = (tail + count + 1) & 0xFFFFFFFF
        self._ring[self._sq_tail_word] = self._tail
        pending = count + 1
        while pending:
            pending -= self._enter(pending)
        return self._completions()

    def _copy_around(self, first: int, sends: memoryview[int]) -> None:
        """Copies sends and the NOP behind them to the end of the ring, and the rest to its beginning."""
        words = memoryview(array("I", sends.tobytes() + _NOP.tobytes()))
        before_end = _RING_WORDS - first
        self._sqes[first:] = words[:before_end]
        self._sqes[: len(words) - before_end] = words[before_end:]

    def _enter(self, count: int) -> int:
        while True:
            done: int = syscall(_SYS_ENTER, self._fd, count, 0, 0, None, 0)
            if done > 0:
                return done
            code = ctypes.get_errno()
            if code not in (errno.EINTR, errno.EAGAIN, errno.EBUSY):
                raise OSError(code, f"io_uring_enter: {os.strerror(code)}")

    def _completions(self) -> Sequence[tuple[int, int]]:
        """Reads all completions, the last of which is that of the NOP."""
        ring, mask = self._ring, self._cq_mask
        head, tail = ring[self._cq_head_word], ring[self._cq_tail_word]
        ring[self._cq_head_word] = tail
        assert head != tail, "a batch has a completion at least"
        found: list[tuple[int, int]] = []
        while True:
            word = self._cqes_word + (head & mask) * _CQE_WORDS
            index = ring[word]
            head = (head + 1) & 0xFFFFFFFF
            if head == tail:
                break
            result = ring[word + 2]
            found.append((index, result - 0x1_0000_0000 if result & 0x8000_0000 else result))
        assert index == _END_OF_BATCH, "a send was still under way after its submission"
        return found

    def _map(self, parameters: _Parameters) -> None:
        sq, cq = parameters.sq, parameters.cq
        size = max(sq.word6 + parameters.sq_entries * 4, cq.word5 + parameters.cq_entries * 16)
        self._ring_map = mmap.mmap(self._fd, size, offset=_OFFSET_SQ_RING)
        self._sqes_map = mmap.mmap(self._fd, parameters.sq_entries * ENTRY_BYTES, offset=_OFFSET_SQES)
        self._sqes: memoryview[int] = memoryview(self._sqes_map).cast("I")
        self._ring: memoryview[int] = memoryview(self._ring_map)[: size // 4 * 4].cast("I")
        self._sq_mask = self._ring[sq.ring_mask // 4]
        self._sq_tail_word = sq.tail // 4
        self._cq_mask = self._ring[cq.ring_mask // 4]
        self._cq_head_word = cq.head // 4
        self._cq_tail_word = cq.tail // 4
        self._cqes_word = cq.word5 // 4
        first = sq.word6 // 4
        # Entry n of the ring is SQE n, for good.
        self._ring[first : first + parameters.sq_entries] = memoryview(array("I", range(parameters.sq_entries)))

    def _set_file(self, place: int, fd: int) -> None:
        self._update_fd.value = fd
        self._update.offset = place
        call(_SYS_REGISTER, self._fd, _REGISTER_FILES_UPDATE, ctypes.byref(self._update), 1)


class SendBlock(Block):
    """The prepared sends of one set of sockets. The place of a socket is that in the ring's table."""

    _WORD_INDEX = _WORD_USER_DATA
    _WORD_ADDRESS = 4
    _WORD_LENGTH = 6

    def _write(self, index: int, place: int | None) -> None:
        word = index * ENTRY_WORDS
        self.words[word] = _SILENT_NOP if place is None else _SILENT_SEND
        self.words[word + _WORD_FILE] = 0 if place is None else place
        # A NOP has flags of its own here.
        self.words[word + _WORD_FLAGS] = 0 if place is None else _SEND_FLAGS
