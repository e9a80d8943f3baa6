"""What became of an import: everything that was read, and everything that was not, by name."""

import csv
import io
from dataclasses import asdict, dataclass, field

from segdemo.core import names
from segdemo.core.conventions import number_of
from segdemo.data.formats.annotation import SUBSETS, Annotation


@dataclass(frozen=True)
class LeftOut:
    """One annotation, or one file that may have held some, that is not among what was imported.

    Attributes:
        file: name of the file it is in.
        what: which it is in that file, such as ``"annotation 5"``, ``"line 3"`` or ``"mask"``.
        why: the reason, to be read behind ``what``.
        photo: name of its photo where ``file`` speaks of several, else "".
        whole: whether the reason is the photo's or the file's as a whole, and not its own.
    """

    file: str
    what: str
    why: str
    photo: str = ""
    whole: bool = False

    def to_json(self) -> dict:
        """``{"file", "what", "why"}``."""
        what = f"{self.what} of {self.photo}" if self.photo else self.what
        return {"file": self.file, "what": what, "why": self.why}


@dataclass(frozen=True)
class Duplicate:
    """Something that was there already: what came again, what it is the same as, what is the same and was done."""

    file: str
    of: str
    why: str


@dataclass
class Account:
    """The account of an import. It grows while the import goes on.

    Attributes:
        archive: what was imported.
        collection: name of the collection it went into; "" while it is in none.
        formats: the formats that were read.
        photos: photos of the import that are in the collection now, each counted once.
        labelled: those of them that have a mask.
        painted: annotations that are in those masks.
        left_out, duplicates: see there.
        ignored: names of files that belong to no annotation: nobody's.
        classes: of the label set that was read into.
        classes_source: how they were found.
        splits: subset to photos of the import in it.
        splits_source: how the subsets were found.
        notes: sentences on what else a person should know.
    """

    archive: str = ""
    collection: str = ""
    formats: list[str] = field(default_factory=list)
    photos: int = 0
    labelled: int = 0
    painted: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    classes_source: str = ""
    splits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUBSETS, 0))
    splits_source: str = ""
    notes: list[str] = field(default_factory=list)

    def leave_out(self, file: str, what: str, why: str, photo: str = "", whole: bool = False) -> None:
        """One more that is left out; ``why`` ends without a full stop."""
        self.left_out.append(LeftOut(file, what, why.rstrip(". "), photo, whole))

    def add_duplicate(self, file: str, of: str, why: str) -> None:
        """One more thing that was there already."""
        self.duplicates.append(Duplicate(file, of, why))

    def unpaint(self, annotation: Annotation, why: str) -> None:
        """Take back what was counted as painted of an annotation: its mask is not used, and why."""
        self.painted -= len(annotation.parts)
        photo = annotation.file or annotation.id
        for file, what in annotation.parts or [(photo, "photo")]:
            own = file == photo or what == "mask"
            self.leave_out(file, what, why, "" if own else annotation.name or photo, whole=True)

    @property
    def read(self) -> int:
        """Annotations met: painted and left out."""
        return self.painted + len(self.left_out)

    def to_json(self) -> dict:
        """Plain data, as ``annotations import --json`` prints it."""
        return {
            "collection": self.collection,
            "photos": self.photos,
            "labelled": self.labelled,
            "annotations": {"read": self.read, "painted": self.painted, "left_out": len(self.left_out)},
            "left_out": [entry.to_json() for entry in self.left_out],
            "duplicates": [asdict(entry) for entry in self.duplicates],
            "ignored": list(self.ignored),
            "label_set": {"classes": list(self.classes), "source": self.classes_source},
            "splits": {**{name: self.splits[name] for name in SUBSETS}, "source": self.splits_source},
        }

    def to_csv(self) -> str:
        """The lists as a table for a spreadsheet: what became of it, file, what, why."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["list", "file", "what", "why"])
        for row in self.rows():
            # A spreadsheet takes a cell that starts like this for a formula.
            writer.writerow([f"'{cell}" if cell[:1] in tuple("=+-@\t\r") else cell for cell in row])
        return out.getvalue()

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(list, file, what, why) of everything that was left out, there already, or nobody's."""
        rows = [("left out", *entry.to_json().values()) for entry in self.left_out]
        rows += [("there already", *asdict(entry).values()) for entry in self.duplicates]
        return rows + [("nobody's", name, "file", "belongs to no annotation") for name in self.ignored]

    def sentences(self) -> list[str]:
        """A sentence for each annotation that was left out, or one for all that share a photo's reason."""
        told: dict[str, None] = {}
        for entry in self.left_out:
            where = f"{entry.file}, {entry.photo}" if entry.photo else entry.file
            gap = ":" if entry.why[:1].isupper() else ""  # a sentence of its own
            what = "" if entry.whole else f" {entry.what}{gap}"
            told.setdefault(_one_line(f"{where}:{what} {entry.why}."))
        return list(told)

    def totals(self) -> list[str]:
        """The numbers as sentences."""
        photos = number_of(self.labelled, "labelled photo")
        said = [f"{photos} {'was' if self.labelled == 1 else 'were'} imported."]
        if bare := self.photos - self.labelled:
            said.append(f"{number_of(bare, 'photo')} without a label came with them.")
        read = number_of(self.read, "annotation")
        said.append(f"{read} read, {self.painted} painted, {len(self.left_out)} left out.")
        if self.duplicates:
            said.append(f"There already: {len(self.duplicates)}.")
        if self.ignored:
            said.append(f"Files that belong to no annotation: {len(self.ignored)}.")
        said.append(f"Classes: {self.classes_source}.")
        parts = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        said.append(f"Subsets: {parts} ({self.splits_source or 'none told'}).")
        return said + self.notes


def _one_line(text: str) -> str:
    """A sentence with names in it that may hold anything and be of any length."""
    text = names.printable(text)
    return text if len(text) <= 1000 else f"{text[:480]} ... {text[-480:]}"
