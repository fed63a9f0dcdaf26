"""Reads a data set straight into one piece, although a head stands before each fragment of it (PS3.8 9.3.5).

Senders cut a data set into fragments of one length, each in a PDU of its own, so that every head but the last says the
same. What comes next can therefore be laid out before it is read: the values one after the other, the heads aside. They
can be hashed and written as they lie; with heads between them each took another copy.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 12
"""Of a PDU (6 bytes) and of its only fragment (6)."""
LEAST_FRAGMENT_BYTES = 8192
"""Shorter fragments would need very many pieces for one read."""


@dataclass(frozen=True)
class Gathered:
    """What one read brought."""

    value_bytes: int
    """Of the data set; they lie at the beginning of the buffer."""
    left_bytes: int
    """Still to come of the fragment under way; 0 between fragments."""
    behind: bytes
    """What came after the values: a head that is not whole, or from the first head on that says something else."""
    began: bool
    """Whether another fragment began."""


class FragmentRun:
    """A row of fragments that all have the same head.

    Parameters
    ----------
    head
        The whole head of one of them.
    fragment_bytes
        Length of its value; at least `LEAST_FRAGMENT_BYTES`.
    room_bytes
        Of the buffers that it is read into.
    """

    def __init__(self, head: bytes, fragment_bytes: int, room_bytes: int) -> None:
        self.head = head
        self.fragment_bytes = fragment_bytes
        self._heads = memoryview(bytearray(HEAD_BYTES * (room_bytes // fragment_bytes + 2)))

    def layout(self, buffer: memoryview, left_bytes: int, head_part: bytes) -> list[memoryview]:
        """Return where to read to, for ``readv``.

        Parameters
        ----------
        buffer
            For the values.
        left_bytes
            Still to come of the fragment under way; 0 between fragments.
        head_part
            What was read already of the next head; empty within a fragment.
        """
        pieces = [buffer[:left_bytes]] if left_bytes else []
        position = left_bytes
        self._heads[: len(head_part)] = head_part
        head_at = len(head_part)
        while position < len(buffer):
            head_ends = head_at - head_at % HEAD_BYTES + HEAD_BYTES
            pieces += (self._heads[head_at:head_ends], buffer[position : position + self.fragment_bytes])
            position += self.fragment_bytes
            head_at = head_ends
        return pieces

    def gathered(self, buffer: memoryview, left_bytes: int, head_part: bytes, count: int) -> Gathered:
        """Say what `count` bytes read into the `layout` of the same arguments are."""
        values = min(left_bytes, len(buffer), count)
        unseen = count - values
        left, number = left_bytes - values, 0
        unseen += len(head_part)
        while unseen and not left:
            head = self._heads[number * HEAD_BYTES : (number + 1) * HEAD_BYTES][:unseen]
            if head != self.head:
                return Gathered(values, 0, self._in_order(buffer[values:], number, unseen), number > 0)
            number += 1
            step = min(self.fragment_bytes, len(buffer) - values, unseen - HEAD_BYTES)
            values += step
            unseen -= HEAD_BYTES + step
            left = self.fragment_bytes - step
        return Gathered(values, left, b"", number > 0)

    def _in_order(self, values: memoryview, number: int, count: int) -> bytes:
        """Return `count` bytes as they came, from a head on."""
        found = bytearray()
        while (missing := count - len(found)) > 0:
            found += self._heads[number * HEAD_BYTES :][: min(HEAD_BYTES, missing)]
            found += values[: min(self.fragment_bytes, max(0, missing - HEAD_BYTES))]
            values, number = values[self.fragment_bytes :], number + 1
        return bytes(found)
