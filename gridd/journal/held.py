"""Which segments a journal holds, and where its durable end is.

The writer alone changes it, and readers in other threads see the one state or the next, both true:
``headers`` is replaced, never changed in place, and ``end`` moves only after the sync.
"""

from gridd.journal.base import Position
from gridd.journal.format import HEADER_BYTES, Header


class Held:
    """``headers`` by number, in no order; never none once the journal is open."""

    def __init__(self, headers: dict[int, Header], end: Position) -> None:
        self.headers = headers
        self.end = end

    def look(self) -> tuple[dict[int, Header], Position]:
        end = self.end  # before the headers: they are then at least as new
        return self.headers, end

    def begin(self, number: int, header: Header) -> None:
        """A new last segment, empty."""
        self.headers = {**self.headers, number: header}
        self.end = Position(number, HEADER_BYTES)

    def drop(self, number: int) -> Header:
        """The segment's file is about to go."""
        header = self.headers[number]
        self.headers = {n: other for n, other in self.headers.items() if n != number}
        return header

    def take_back(self, number: int, header: Header) -> None:
        """It could not go."""
        self.headers = {**self.headers, number: header}
