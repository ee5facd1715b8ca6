"""A planted bug: a small mistake that a good engineer could make, and the tests that must catch it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    name: str
    """What goes wrong, as a sentence."""
    breaks: str
    """The promise about money that would no longer hold."""
    file: str
    text: str
    """Stands exactly once in the file."""
    becomes: str
    tests: tuple[str, ...]
    """Files or `file::test`: at least one of them must fail."""

    def planted_in(self, source: str) -> str:
        """The file's text with the bug. Raises `Stale` where the code has moved on."""
        found = source.count(self.text)
        if found != 1:
            raise Stale(f"{self.file} has the text of “{self.name}” {found} times")
        return source.replace(self.text, self.becomes)


class Stale(Exception):
    """The table does not fit the code any more."""
