"""Open files of segments for reading by position: a bounded, shared, least-recently-used few."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from gridd.journal.fs import File

OPEN_SEGMENTS_MAX = 16  # chosen: descriptors are few (FACTS: 20000 in all), reads are mostly recent


class _Opened:
    def __init__(self, file: File) -> None:
        self.file = file
        self.readers = 0
        self.kept = True


class OpenSegments:
    """Hands out files to reader threads and closes none that is being read.

    Holds at most ``limit`` files, plus one for each thread that reads one let go meanwhile.
    """

    def __init__(self, open_segment: Callable[[int], File], limit: int = OPEN_SEGMENTS_MAX) -> None:
        self._open_segment = open_segment
        self._limit = limit
        self._opened: OrderedDict[int, _Opened] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._opened)

    @contextmanager
    def borrow(self, segment: int) -> Iterator[File]:
        """The segment's file for the length of the block. ``OSError`` when it can't be opened."""
        with self._lock:
            opened = self._opened.get(segment)
            if opened is None:
                opened = self._opened[segment] = _Opened(self._open_segment(segment))
            self._opened.move_to_end(segment)
            opened.readers += 1
            while len(self._opened) > self._limit:
                self._let_go(next(iter(self._opened)))
        try:
            yield opened.file
        finally:
            with self._lock:
                opened.readers -= 1
                if not opened.kept and not opened.readers:
                    opened.file.close()

    def drop(self, segment: int) -> None:
        """Forget one segment's file; a reader at work keeps it until it is done."""
        with self._lock:
            if segment in self._opened:
                self._let_go(segment)

    def close(self) -> None:
        with self._lock:
            while self._opened:
                self._let_go(next(iter(self._opened)))

    def _let_go(self, segment: int) -> None:
        opened = self._opened.pop(segment)
        opened.kept = False
        if not opened.readers:
            opened.file.close()
