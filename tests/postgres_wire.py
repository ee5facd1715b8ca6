"""Reads along in PostgreSQL's protocol 3: which statements a transaction holds, and when its commit is acknowledged."""

from __future__ import annotations

from collections.abc import Iterator


class Conversation:
    """Both directions of one connection, fed in pieces as they come."""

    _TLS, _START = (80_877_103).to_bytes(4), (196_608).to_bytes(4)

    def __init__(self) -> None:
        self._asked, self._answered, self._held = bytearray(), bytearray(), bytearray()
        self._started = self._tls_asked = False
        self._statements: dict[bytes, bytes] = {}
        self._transaction = self._tag = b""

    @classmethod
    def begins(cls, data: bytes) -> bool:
        return data[4:8] in (cls._TLS, cls._START)

    def ask(self, data: bytes) -> bytes:
        """The statements so far of the transaction that the client is in."""
        self._asked += data
        while message := _cut_off(self._asked, int(self._started)):
            if not self._started:
                self._tls_asked = message[4:8] == self._TLS
                self._started = not self._tls_asked
                continue
            name, _, rest = message[5:].partition(b"\0")
            kind = message[:1]
            if kind == b"P":  # parse: a statement gets its name
                self._statements[name] = rest
            elif kind == b"B":  # bind: a portal's name, then the statement's
                self._transaction += self._statements.get(rest.partition(b"\0")[0], b"")
            elif kind == b"Q":
                self._transaction += name
        return self._transaction

    def read(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """The answer in pieces, with whether the piece tells of a commit: then it comes whole, once it is certain."""
        if self._tls_asked:
            self._tls_asked = False
            yield data[:1], False
            data = data[1:]
        self._answered += data
        while message := _cut_off(self._answered, 1):
            self._held += message
            if message[:1] in (b"C", b"s"):  # done, or enough rows; committed only when ready for what comes next
                self._tag = message[5:] or b"SUSPENDED"
            elif message[:1] == b"Z":
                idle = message[5:6] == b"I"
                yield bytes(self._held), idle and self._tag not in (b"", b"ROLLBACK\0")
                self._held.clear()
                self._tag, self._transaction = b"", b"" if idle else self._transaction
        if self._held and not self._tag:
            yield bytes(self._held), False
            self._held.clear()


def _cut_off(buffer: bytearray, kind_length: int) -> bytes:
    """The buffer's first message, if it is whole."""
    length = kind_length + int.from_bytes(buffer[kind_length : kind_length + 4])
    if len(buffer) < max(length, kind_length + 4):
        return b""
    message = bytes(buffer[:length])
    del buffer[:length]
    return message
