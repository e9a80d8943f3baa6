"""What a format is: a row of ``registry.FORMATS``, with what reads it, what writes it, or both."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from segdemo.core.labels import LabelSet
from segdemo.data.formats.outgoing import Outgoing
from segdemo.data.formats.reader import Found, Reader

File = tuple[str, str | bytes]  # name in the export, content


class Writer:
    """What writes one format of one export. It is made once the label set is known.

    Attributes:
        folders: those at the top of an export that its files are in, and its files there.
        late: whether what ``finish`` gives comes after that of the others.
    """

    folders: ClassVar[tuple[str, ...]] = ()
    late: ClassVar[bool] = False

    def __init__(self, label_set: LabelSet):
        self.label_set = label_set

    def add(self, item: Outgoing) -> Iterable[File]:
        """The files of one photo. Raises ExchangeError: it cannot be written in this format."""
        return ()

    def finish(self) -> Iterable[File]:
        """The files that speak of all photos, once these are added."""
        return ()


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: in options, messages and accounts.
        title: for people.
        find: function from a ``Reader`` to a ``Found``, or None where the archive holds nothing of the format. Raises
            ExchangeError: there is something, and why nothing of it can be read. None where it is not read.
        writer: the ``Writer``; None where it is not written.
        keys: one of these is at the top of the JSON files it is kept in, which makes them ``Reader.documents``.
        yields: whether other formats are read before it, since theirs are the labels to use where both have some.
        preselected: whether the page offers it for export already ticked.
    """

    name: str
    title: str
    find: Callable[[Reader], Found | None] | None = None
    writer: type[Writer] | None = None
    keys: tuple[str, ...] = ()
    yields: bool = False
    preselected: bool = False
