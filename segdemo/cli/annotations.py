"""The command line's ``annotations``: collections listed, filled, written out and checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from segdemo.cli.common import Commands, complain, given_path, print_json, say

if TYPE_CHECKING:
    from segdemo.annotations.collection import Collection


def add_to(commands: Commands) -> None:
    """Add the commands to the subparsers of the program."""
    command = commands.add_parser(
        "annotations", help="list, import, export or check collections of annotations"
    )
    actions = command.add_subparsers(required=True, metavar="ACTION")

    action = actions.add_parser("list", help="the collections there are")
    action.add_argument("--json", action="store_true")
    action.set_defaults(run=_list)

    action = actions.add_parser("import", help="take annotations into a collection, and print the account")
    action.add_argument("archive", type=given_path, metavar="ARCHIVE_OR_DIR")
    action.add_argument("--into", required=True, metavar="NAME", help="the collection; made if there is none")
    action.add_argument(
        "--label-set",
        type=given_path,
        metavar="FILE",
        help="names of the classes: one a line, or a labels.json",
    )
    action.add_argument("--json", action="store_true")
    action.set_defaults(run=_import)

    action = actions.add_parser("export", help="write a collection into a ZIP or a folder")
    action.add_argument("name", metavar="NAME")
    action.add_argument(
        "--format",
        required=True,
        nargs="+",
        metavar="FORMAT",
        help="voc, coco, yolo and others; several, if you like",
    )
    action.add_argument("--out", required=True, type=given_path, metavar="ZIP_OR_DIR")
    action.set_defaults(run=_export)

    action = actions.add_parser("check", help="open every photo and mask of a collection")
    action.add_argument("name", metavar="NAME")
    action.add_argument("--json", action="store_true")
    action.set_defaults(run=_check)


def _list(options: argparse.Namespace) -> None:
    from segdemo.annotations.store import AnnotationStore

    listed = []
    for collection in AnnotationStore().collections():
        photos = collection.photos(per_page=10_000_000).photos
        labelled = [photo for photo in photos if photo.revision]
        listed.append(
            {
                "name": collection.name,
                "title": collection.title,
                "photos": len(photos),
                "labelled": len(labelled),
                "classes": list(collection.label_set.classes),
                "splits": {s: sum(p.split == s for p in labelled) for s in ("train", "val", "test")},
            }
        )
    if options.json:
        print_json(listed)
        return
    for entry in listed:
        say(
            f"{entry['name']:30} {entry['labelled']:6} of {entry['photos']:6} photos labelled  {entry['title']}"
        )
    if not listed:
        say("There is no collection yet: import one, or make one in the page.")


def _import(options: argparse.Namespace) -> None:
    from segdemo.annotations.store import AnnotationStore
    from segdemo.annotations.transfer import import_annotations

    account = import_annotations(
        AnnotationStore(), options.archive, options.into, options.label_set, progress=_progress()
    )
    if options.json:
        print_json(account.to_json())
        for note in account.notes:
            complain(note)
        return
    say(f"{account.archive} was imported into {account.collection}.")
    for sentence in account.totals():
        say(sentence)
    for title, lines in (
        ("Left out", account.sentences()),
        ("There already", [f"{d.file}: {d.why} ({d.of})." for d in account.duplicates]),
        ("Belong to no annotation", account.ignored),
    ):
        if lines:
            say("", f"{title}:")
            for line in lines:
                say(f"  {line}")


def _export(options: argparse.Namespace) -> None:
    from segdemo.data.formats import export_folder, export_zip

    collection = _collection(options.name)
    export = export_zip if options.out.suffix.lower() == ".zip" else export_folder
    export(collection.annotations(), options.out, options.format, progress=_progress())
    collection.keep("exported")
    say(str(options.out))


def _check(options: argparse.Namespace) -> int:
    from segdemo.data.check import check

    report = check(_collection(options.name).dataset())
    if options.json:
        print_json(report.to_json())
    else:
        say(*report.lines())
    return 0 if report.ok else 2


def _collection(name: str) -> Collection:
    """The collection of a name or title. Raises NotFoundError."""
    from segdemo.annotations.store import AnnotationStore
    from segdemo.annotations.transfer import find_collection

    store = AnnotationStore()
    return find_collection(store, name) or store.open(name)


def _progress() -> Callable[[int], object]:
    from tqdm import tqdm

    bar = tqdm(unit=" photos", file=sys.stderr, disable=not sys.stderr.isatty())
    return lambda done: bar.update(done - bar.n)
