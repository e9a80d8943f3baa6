"""The Annotate tab: collections of photos, the canvas to label them in, revisions, export and import."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr
from gradio.events import Dependency
from markupsafe import Markup

from segdemo import zoo
from segdemo.annotations import drafts
from segdemo.annotations.records import Photo, Revision
from segdemo.core.conventions import so_many_are
from segdemo.core.files import StoreError
from segdemo.core.labels import LabelSet
from segdemo.data.formats import Account
from segdemo.errors import UserError
from segdemo.ui.components import label_table, photo_list
from segdemo.ui.components.photo_list import ANY_CLASS, WHICH
from segdemo.ui.components.scroll import focus_on, scroll_to
from segdemo.ui.events import Event, Events, Updates
from segdemo.ui.inputs import notice
from segdemo.ui.latest import Latest
from segdemo.ui.markup import html, join
from segdemo.ui.photos import built_in_paths, suiting
from segdemo.ui.services import Services
from segdemo.ui.tabs.annotate.desk import Desk, knows
from segdemo.ui.tabs.annotate.layout import NOTHING, OWN, Layout, Undo, steps
from segdemo.ui.tabs.segment import SegmentTab
from segdemo.zoo.taught import is_taught

TAB = "annotate"  # id of the tab
NEWEST_REVISIONS = 30  # listed
ACCOUNT_ROWS = 200  # of an import's account that are shown
_TAKE = "(files) => [null, files]"  # out of the field and into the hand, in the browser


def build(services: Services, tab: gr.Tab, tabs: gr.Tabs, segment: SegmentTab) -> "AnnotateTab":
    """Add what is in the tab, whose id is ``TAB``, to the Blocks being built. ``tabs`` are all of them.

    Others may listen to its ``rest.fine_tune``, and read its ``collection`` and ``rest.with_drafts``.
    """
    annotate = AnnotateTab(Desk(services), tabs, segment)
    annotate.connect(tab)
    return annotate


class AnnotateTab(Layout):
    """What happens on the components' events: each handler returns the updates of some of them.

    Attributes:
        long: options of the events that may take long, for which nobody waits who opens the tab or a photo.
    """

    long: ClassVar[dict[str, Any]] = {"concurrency_id": "annotate-long"}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._latest: Latest[str] = Latest()  # photos, "" for none
        self._places: Latest[str] = Latest()  # collections, likewise

    def connect(self, tab: gr.Tab) -> None:
        """Listen to every component, and to the tab itself."""
        on = Events(self.notice, self.inputs, self.outputs, "annotate").on
        on(tab.select, self._enter, quiet=True)
        on(self.collection.input, self._choose_collection, trigger_mode="always_last")
        on(self.new.click, lambda event: {self.creator: gr.update(visible=True)}).then(
            **focus_on("#new-title :is(input, textarea)")
        )
        on(self.cancel.click, lambda event: {self.creator: gr.update(visible=False)})
        on(
            self.new_labels.change,
            lambda event: {self.new_table: gr.update(visible=event[self.new_labels] == OWN)},
            quiet=True,
            inputs={self.new_labels},
            queue=False,
            trigger_mode="always_last",
        )
        on([self.create.click, self.new_title.submit], self._create)
        on(self.change.click, self._change)
        on(self.discard.click, self._delete_collection)
        self._on_drop(on, self.files, self.dropped, self._add_files)
        on(self.sample.click, self._add_ours, **self.long)
        on(self.add_segmented.click, self._add_segmented)
        on(self.segment.stage.correct, self._correct)
        # Not search.input: a paste does not fire it. The page and other events write into the box too, so what the
        # visitor was told before must stay.
        searches = [self.search.change, self.which.input, self.class_.input, self.sort.input]
        on(searches, self._search, quiet=True, trigger_mode="always_last")
        on(self.previous.click, lambda event: self._turn(event, -1))
        on(self.following.click, lambda event: self._turn(event, +1))
        see_canvas = scroll_to("#annotate-title")
        # Each of them, since the photo comes with the event. On a phone the list is far below.
        on(self.photos.pick, self._pick, trigger_mode="multiple").then(**see_canvas)
        on(self.model.input, self._choose_model, trigger_mode="always_last")
        self.canvas.ready(**see_canvas)  # once more, now that it has its height
        on(self.canvas.saved, self._saved, trigger_mode="multiple")  # each of them, on a slow server too
        on(self.canvas.reload, self._reload)
        # Each of them: the canvas may show the photo after the next one before the next one's answer.
        on(self.canvas.next, self._next, trigger_mode="multiple")
        on(self.canvas.previous, self._previous)
        on(  # while one photo is labelled the next one is got ready
            self.canvas.ready,
            self._look_ahead,
            quiet=True,
            outputs=[self.notice, self.ahead],
            trigger_mode="always_last",
            concurrency_id="ahead",
            concurrency_limit=1,
        )
        on(self.delete.click, self._delete)
        on(self.undo.click, self._undo)
        bar = {self.undo_bar: gr.update(visible=False)}
        on(self.forget.click, lambda event: bar, quiet=True, inputs=set(), outputs=[self.notice, *bar])
        on(self.revisions.input, self._look_at_revision, trigger_mode="always_last")
        on(self.restore.click, self._restore)
        on(self.export.click, self._export, progress_on=self.export, **self.long)
        self._on_drop(on, self.archive, self.incoming, self._import)
        self.rest.connect(self, on)
        self.review.connect(self, on)

    def _on_drop(
        self,
        on: Callable[..., Dependency],
        field: gr.File,
        hand: gr.File,
        handler: Callable[[Event], Updates],
    ) -> None:
        """Call a handler for what was dropped into a field.

        It is taken out of the field and into ``hand`` at once, so that the next drop is a batch of its own.
        """
        each: dict[str, Any] = {"trigger_mode": "multiple"}
        taken = field.upload(None, field, [field, hand], js=_TAKE, api_visibility="private", **each)
        on(taken.then, handler, progress_on=field, inputs={*self.inputs, hand}, **each, **self.long)

    # --- collections ---

    def _enter(self, event: Event) -> Updates:
        """The tab is opened: show what was open when the visitor left, also after a reload."""
        names, left = [name for _, name in self.desk.collections()], event[self.collection]
        if event[self.opened] and left in names:
            return self._collections(left, chosen=True)
        last = event[self.remembered]
        name = left or last["collection"]
        if name not in names:
            name = names[0] if names else None
        gone: Updates = {}
        if left and left not in names:
            gone[self.notice] = notice(
                "The collection that was open here was deleted elsewhere: choose another, or make one.",
                alert=True,
            )
        if name is None:
            return {**self._no_collection(event), **gone}
        photo = last["photo"] if name == last["collection"] else None
        try:
            updates = self._show_collection(event, name, photo)
        except UserError:  # it was deleted meanwhile
            updates = self._show_collection(event, name)
        del updates[self.creator]  # a quick visitor may have opened it by now
        return {**updates, **gone}

    def _collections(self, name: str | None, chosen: bool = False) -> Updates:
        """The choice of collections, ``name`` being the chosen one or None.

        Where the visitor has ``chosen`` it in the menu, the menu stays where it is, since they may be choosing another.
        """
        parts = (self.finding, self.strip, self.body)
        value: dict[str, Any] = {} if chosen else {"value": name}
        return {
            self.collection: gr.update(choices=self.desk.collections(), **value),
            **{part: gr.update(visible=name is not None) for part in parts},
        }

    def _choose_collection(self, event: Event) -> Updates:
        name = event[self.collection]
        return {**self._show_collection(event, name), **self._collections(name, chosen=True)}

    def _show_collection(self, event: Event, name: str, photo: str | None = None) -> Updates:
        """All about a collection, with one of its photos open or none."""
        collection = self.desk.store.open(name)
        label_set = collection.label_set
        self._places.note(event.request.session_hash, name)
        event.form.update({self.search: "", self.which: "all", self.class_: ANY_CLASS, self.seen: ()})
        models = self.models(name)
        chosen, offered = event[self.model], [model for _, model in models]
        stays = chosen in offered and (chosen != NOTHING or event[self.opened])
        # What another collection was taught stays where it is at home, as when its prediction is to be corrected.
        if not stays or (is_taught(chosen) and not knows(zoo.served_model(chosen), label_set)):
            event.form[self.model] = self.desk.first_model(name) or NOTHING
        return {
            **self._collections(name),
            self.creator: gr.update(visible=False),
            self.search: "",
            self.which: "all",
            self.class_: gr.update(choices=photo_list.class_choices(label_set), value=ANY_CLASS),
            self.title: collection.title,
            self.table: label_table.to_table(label_set),
            self.download: gr.update(visible=False),
            self.account: gr.update(visible=False),
            **self.review.shown(name),
            **(self._open(event, name, photo) if photo else self._close(event, name, page=1)),
            self.model: gr.update(choices=models, value=event[self.model]),
        }

    show = _show_collection

    def models(self, name: str) -> list[tuple[str, str]]:
        """Choices of what to start from in a collection."""
        return [("no model", NOTHING), *self.desk.models(name)]

    def _create(self, event: Event) -> Updates:
        kind = event[self.new_labels]
        name = self.desk.create(event[self.new_title], None if kind == OWN else kind, event[self.new_table])
        empty_form = {self.new_title: "", self.new_table: label_table.first_table()}
        return {**self._show_collection(event, name), **empty_form}

    def _change(self, event: Event) -> Updates:
        name, id_ = event[self.collection], event[self.opened]
        self.desk.change(name, event[self.title], event[self.table])
        return {
            **self._show_collection(event, name, id_),
            self.notice: notice("The name and classes of the collection are saved."),
        }

    def _delete_collection(self, event: Event) -> Updates:
        name = event[self.collection]
        title = self.desk.store.open(name).title
        key = self.desk.store.delete(name)
        offer = self._offer_undo(f"The collection {title} is in the trash.", Undo("collection", key))
        if others := self.desk.collections():
            return {**self._show_collection(event, others[0][1]), **offer}
        return {**self._no_collection(event), **offer}

    def _no_collection(self, event: Event) -> Updates:
        """There is none: the first can be made."""
        for latest in (self._places, self._latest):
            latest.note(event.request.session_hash, "")
        nothing = {**self._collections(None), **self._desktop(visible=False, done=0), self.opened: None}
        return {**nothing, self.creator: gr.update(visible=True)}

    # --- the list ---

    def _listing(
        self, event: Event, name: str, page: int | None = None, current: str | None = None
    ) -> Updates:
        """One page of the photos that fit search and filters; ``current`` is the open one."""
        collection = self.desk.store.open(name)
        _, annotated, deleted = WHICH[event[self.which]]
        made = drafts.found(collection)
        photos = self.desk.photos(
            collection,
            event[self.sort],
            self._model(event),
            search=event[self.search],
            class_id=None if event[self.class_] == ANY_CLASS else event[self.class_],
            annotated=annotated,
            deleted=deleted,
            among=made if event[self.which] == "draft" else None,
            page=page or event[self.page],
            per_page=photo_list.PER_PAGE,
        )
        return {
            **self.rest.state(name),
            self.photos: photo_list.listing(collection, photos, current or event[self.opened], made),
            self.progress: photo_list.progress(collection),
            self.count: photo_list.summary(photos),
            self.page: photos.page,
            self.previous: gr.update(visible=photos.pages > 1, interactive=photos.page > 1),
            self.following: gr.update(visible=photos.pages > 1, interactive=photos.page < photos.pages),
        }

    listing = _listing

    def _search(self, event: Event) -> Updates:
        name = event[self.collection]
        return self._listing(event, name, page=1) if name else {}

    def _turn(self, event: Event, step: int) -> Updates:
        return self._listing(event, event[self.collection], page=event[self.page] + step)

    def _add_files(self, event: Event) -> Updates:
        """Photos into the collection, the first of them opened; sentences about those that are not in it."""
        return self._add(event, event[self.dropped] or ())

    def _add_ours(self, event: Event) -> Updates:
        """Photos of ours that suit the collection's classes, for whoever has none at hand."""
        return self._add(event, suiting(self.desk.store.open(event[self.collection]).label_set).values())

    def _add(self, event: Event, files: Iterable[str | Path]) -> Updates:
        name, before = event[self.collection], self._where(event)
        ids, sentences = self.desk.add_photos(name, files)
        updates: Updates = {}
        if ids:
            stays = before == self._where(event)
            updates |= self._arrived(event, name, ids[0], before)
            if len(ids) > 1 or not stays:
                title = self.desk.store.open(name).title
                place = "the collection" if self._where(event)[0] in (None, name) else title
                sentences.insert(0, f"{so_many_are(len(ids), 'photo')} in {place}.")
        if sentences:
            updates[self.notice] = notice(*sentences, alert=not ids)
        return updates

    def _where(self, event: Event) -> tuple[str | None, str | None]:
        """The collection and the photo that the page asked for last."""
        page = event.request.session_hash
        return self._places.of(page), self._latest.of(page)

    def _arrived(
        self, event: Event, name: str, id_: str | None, before: tuple[str | None, str | None]
    ) -> Updates:
        """What is new in a collection is shown; if the visitor has gone on since ``before``, in the list at most."""
        place, photo = now = self._where(event)
        if now == before:
            return self._show_collection(event, name, id_)
        updates: Updates = {self.collection: gr.update(choices=self.desk.collections())}
        return {**updates, **self._listing(event, name, current=photo)} if place == name else updates

    def _add_segmented(self, event: Event) -> Updates:
        name, choice = event[self.collection], event[self.segment.choice]
        id_ = self.desk.add_photo(name, choice.path, choice.name)
        return self._show_collection(event, name, id_)

    def _correct(self, event: Event) -> Updates:
        """The Segment tab's photo and prediction, to be corrected here."""
        choice, model = event[self.segment.choice], event[self.segment.model]
        name = self.desk.collection_for(model, event[self.collection] or event[self.remembered]["collection"])
        id_ = self.desk.add_photo(name, choice.path, choice.name)
        event.form[self.model] = model
        updates = {self.tabs: gr.Tabs(selected=TAB), **self._show_collection(event, name, id_)}
        if self.desk.store.open(name).photo(id_).revision:
            updates[self.notice] = notice(
                "This photo has a mask already; the prediction is under Start from."
            )
        return updates

    def _pick(self, event: Event) -> Updates:
        id_, name = event.data.id, event[self.collection]
        photo = self.desk.store.open(name).photo(id_)
        if photo.deleted:
            sentence = f"{photo.source} is in the trash."
            return self._offer_undo(sentence, Undo("photo", name, id_), label="Take it out")
        is_open = id_ == event[self.opened] and not self._latest.overtaken(event.request.session_hash, id_)
        if is_open and event[self.revisions] in (None, photo.revision):
            return {}  # opening it once more could undo what is done to it meanwhile
        return self._unless_overtaken(event, id_, self._open(event, name, id_))

    def _unless_overtaken(self, event: Event, id_: str, updates: Updates) -> Updates:
        """The updates about a photo, or none if the page asked for another one meanwhile."""
        overtaken = self._latest.overtaken(event.request.session_hash, id_)
        return {self.notice: gr.skip()} if overtaken else updates

    def _delete(self, event: Event) -> Updates:
        name, id_ = event[self.collection], event[self.opened]
        collection = self.desk.store.open(name)
        collection.delete(id_)
        offer = self._offer_undo(f"{collection.photo(id_).source} is in the trash.", Undo("photo", name, id_))
        return {**self._close(event, name), **offer}

    def _offer_undo(self, sentence: str, undo: Undo, label: str = "Undo") -> Updates:
        return {
            self.undo: label,
            self.undo_bar: gr.update(visible=True),
            self.undo_text: html('<p role="status">{}</p>', sentence),
            self.undoing: undo,
        }

    def _undo(self, event: Event) -> Updates:
        if event[self.undoing] is None:
            raise StoreError("There is nothing to take back any more.")
        undo, name = event[self.undoing], event[self.undoing].place
        if undo.kind == "collection":
            name = self.desk.store.undelete(name).name
        else:
            self.desk.store.open(name).undelete(undo.photo)
        hidden = {self.undo_bar: gr.update(visible=False), self.undoing: None}
        return {**self._show_collection(event, name, undo.photo), **hidden}

    # --- the canvas ---

    def _model(self, event: Event) -> str | None:
        return None if event[self.model] == NOTHING else event[self.model]

    def _open(self, event: Event, name: str, id_: str) -> Updates:
        """A photo in the canvas, to be labelled."""
        photo = self.desk.store.open(name).photo(id_)
        with self._latest.asking(event.request.session_hash, id_):
            payload = self.desk.payload(name, id_, self._model(event))
        return {
            self.canvas: payload,
            **self._desktop(visible=True),
            self.opened: id_,
            self.remembered: {"collection": name, "photo": id_},
            self.seen: (*(i for i in event[self.seen] if i != id_), id_),
            **self._about(name, photo),
            **self._listing(event, name, current=id_),
        }

    def _choose_model(self, event: Event) -> Updates:
        """Start again from the prediction of another model."""
        id_ = self._latest.of(event.request.session_hash) or event[self.opened]
        return (
            self._unless_overtaken(event, id_, self._open(event, event[self.collection], id_)) if id_ else {}
        )

    def open_at(
        self, event: Event, name: str, id_: str, box: tuple[int, int, int, int] | None = None
    ) -> Updates:
        """A photo in the canvas, with a part of it in sight: left, top, right, bottom, pixels; None for all of it."""
        updates = self._open(event, name, id_)
        updates[self.canvas] = {**updates[self.canvas], "look_at": list(box) if box else None}
        return updates

    def _close(self, event: Event, name: str, page: int | None = None) -> Updates:
        """No photo in the canvas."""
        event.form[self.opened] = None
        self._latest.note(event.request.session_hash, "")
        photos = self.desk.store.open(name).photos(per_page=1).total
        return {
            **self._desktop(visible=False, done=2 if photos else 1),
            self.opened: None,
            self.remembered: {"collection": name, "photo": None},
            **self._listing(event, name, page),
        }

    def _desktop(self, visible: bool, done: int = 2) -> Updates:
        """The canvas and all about it, or the steps in its place, of which some are done."""
        return {
            self.desktop: gr.update(visible=visible),
            self.hint: gr.update(visible=not visible, value=steps(done)),
            self.sampling: gr.update(visible=not visible and done == 1 and bool(built_in_paths())),
            self.undo_bar: gr.update(visible=False),
        }

    def _about(self, name: str, photo: Photo) -> Updates:
        """Title and revisions of a photo."""
        state = f"revision {photo.revision}" if photo.revision else "to label"
        if draft := drafts.find(self.desk.store.open(name), photo.id):
            state = f"draft, {100 * draft.sure:.0f} % sure"
        facts = f"{photo.width} x {photo.height} · {state}"
        label_set = self.desk.store.open(name).label_set
        listed = photo.revisions[::-1][:NEWEST_REVISIONS]
        choices = [(_describe(revision, photo, label_set), revision.number) for revision in listed]
        return {
            self.photo_title: html('<b title="{0}"><bdi>{0}</bdi></b> <span>{1}</span>', photo.source, facts),
            self.history: gr.update(visible=bool(choices)),
            self.revisions: gr.update(choices=choices, value=photo.revision or None),
            self.restore: gr.update(interactive=False),
            self.looked_at: None,
        }

    def _saved(self, event: Event) -> Updates:
        """A mask was saved: the list and the revisions change, the canvas knows already."""
        (name, id_), (_, shown) = _parts(event.data.key), _parts(event.data.open)
        if name != event[self.collection] or id_ != shown:
            return self._listing(event, event[self.collection], current=shown)
        photo = self.desk.store.open(name).photo(id_)
        updates = {**self._about(name, photo), **self._listing(event, name, current=shown)}
        # Last of all: another photo may have been opened meanwhile, and its answer be there before this one.
        opened = self._latest.of(event.request.session_hash)
        return updates if opened in (None, id_) else self._listing(event, name, current=opened)

    def _reload(self, event: Event) -> Updates:
        return self._open(event, *_parts(event.data.key))

    def _after(self, event: Event, name: str, current: str) -> str | None:
        """Id of the photo that comes after the one that is open.

        Whoever went back is led forward again first, as far as those photos are still to label.
        """
        seen, collection = event[self.seen], self.desk.store.open(name)
        forward = seen[seen.index(current) + 1 :] if current in seen else ()
        for id_ in map(str, forward):
            if not (photo := collection.photo(id_)).revision and not photo.deleted:
                return id_
        return self.desk.next_photo(name, self._model(event), seen, current, event[self.sort])

    def _next(self, event: Event) -> Updates:
        (name, current), seen = _parts(event.data.key), event[self.seen]
        if (shown := event.data.shown) and (updates := self._shown(event, name, current, shown)):
            return updates
        if self._latest.of(event.request.session_hash) not in (None, current):
            return {}  # this photo was left before, and what comes after it is on its way
        id_ = self._after(event, name, current)
        if id_ is None:
            labelled = event.data.saving or self.desk.store.open(name).photo(current).revision
            every = "Every photo of this collection has a mask."
            return {
                self.notice: notice(every if labelled else "This is the only photo that has no mask yet.")
            }
        if id_ in seen and seen[-1] == current:  # all had their turn
            event.form[self.seen] = ()
        return self._open(event, name, id_)

    def _shown(self, event: Event, name: str, current: str, shown: dict[str, Any]) -> Updates:
        """All about the photo that the canvas shows already; nothing if that is not what is there by now."""
        place, id_ = _parts(shown["key"])
        photo = self.desk.store.open(name).photo(id_)
        if place != name or photo.deleted or photo.revision != (shown["revision"] or 0):
            return {}
        if current not in event[self.seen]:  # its own answer is not there yet
            event.form[self.seen] = (*event[self.seen], current)
        updates = self._open(event, name, id_)
        if self._latest.of(event.request.session_hash) != id_:  # the canvas shows one more by now
            return {self.notice: gr.skip()}
        del updates[self.canvas]
        return updates

    def _previous(self, event: Event) -> Updates:
        """The photo that was open before; before the first of those, the one before it in the list."""
        (name, current), seen = _parts(event.data.key), event[self.seen]
        at = seen.index(current) if current in seen else 0
        sort, model = event[self.sort], self._model(event)
        id_ = seen[at - 1] if at else self.desk.previous_photo(name, current, sort, model)
        if id_ is None:
            return {self.notice: notice("This is the first photo.")}
        return {**self._open(event, name, id_), self.seen: seen if at else (id_, *seen)}

    def _look_ahead(self, event: Event) -> Updates:
        """Get the next photo ready, and let the model look at others meanwhile."""
        (name, current), model = _parts(event.data.key), self._model(event)
        if name != event[self.collection]:
            return {}
        id_ = self._after(event, name, current)
        if model:
            self.desk.rank(name, model)
        return {self.ahead: self.desk.look_ahead(name, id_, model) if id_ else None}

    def _look_at_revision(self, event: Event) -> Updates:
        """An older mask, to be looked at; the newest is the one that can be edited."""
        name, id_, number = event[self.collection], event[self.opened], event[self.revisions]
        if self._latest.overtaken(event.request.session_hash, id_):
            return {}  # another photo is on its way
        photo = self.desk.store.open(name).photo(id_)
        if number == photo.revision:
            updates = self._open(event, name, id_)
            # Without the value, which stays, since the visitor may be choosing another.
            updates[self.revisions] = gr.update(choices=updates[self.revisions]["choices"])
            return self._unless_overtaken(event, id_, updates)
        shown = {
            self.canvas: self.desk.payload(name, id_, revision=number),
            self.restore: gr.update(interactive=True),
            self.looked_at: number,
            self.notice: notice(
                f"This is revision {number}, to look at: restore it, or choose the newest to go on."
            ),
        }
        return self._unless_overtaken(event, id_, shown)

    def _restore(self, event: Event) -> Updates:
        name, id_, number = event[self.collection], event[self.opened], event[self.revisions]
        if number is None:
            raise StoreError("Choose a revision first.")
        if number != event[self.looked_at]:
            raise StoreError(f"Revision {number} is not shown yet: look at it, and restore it then.")
        fresh = self.desk.store.open(name).restore(id_, number)
        return {
            **self._open(event, name, id_),
            self.notice: notice(f"Revision {number} is the photo's mask again, as revision {fresh}."),
        }

    # --- archives ---

    def _export(self, event: Event) -> Updates:
        name = event[self.collection]
        total = self.desk.store.open(name).photos(annotated=True).total
        path = self.desk.export(
            name,
            event[self.formats],
            lambda count: event.progress((count, total), unit="photos"),
            event[self.export_drafts] is True,
        )
        label = f"Download {path.name} ({path.stat().st_size / 1e6:.1f} MB)"
        return {self.download: gr.update(value=str(path), label=label, visible=True)}

    def _import(self, event: Event) -> Updates:
        name, before = None if event[self.into] == "new" else event[self.collection], self._where(event)
        try:
            account = self.desk.import_archive(
                event[self.incoming], name, lambda count: event.progress((count, None), unit="photos")
            )
        except UserError as error:
            hidden = gr.update(visible=False)  # the account of another import
            return {self.account: hidden, self.notice: notice(str(error), alert=True)}
        return {
            **self._arrived(event, account.collection, None, before),
            **self._account(account),
            self.notice: notice(*account.totals()),
        }

    def _account(self, account: Account) -> Updates:
        """The list of all that an import left out, met twice or passed over, to open and to download."""
        rows = account.rows()
        if not rows:
            return {}
        return {
            self.account: gr.update(
                visible=True, open=False, label=f"What the import left out ({len(rows)})"
            ),
            self.account_list: _table(rows),
            self.account_csv: gr.update(value=str(self.desk.account_file(account))),
        }


def _parts(key: str) -> tuple[str, str]:
    """Names of the collection and the photo in a key of the canvas."""
    name, _, id_ = key.partition("/")
    return name, id_


def _table(rows: Sequence[tuple[str, ...]]) -> Markup:
    """Rows of an account as HTML; the longest ones are in the file."""
    cells = (join(html("<td>{}</td>", cell) for cell in row) for row in rows[:ACCOUNT_ROWS])
    body = join(html("<tr>{}</tr>", cell) for cell in cells)
    more = len(rows) - ACCOUNT_ROWS
    rest = html("<p>{} more are in the CSV.</p>", more) if more > 0 else ""
    return html("<table><tr><th></th><th>file</th><th>what</th><th>why</th></tr>{}</table>{}", body, rest)


def _describe(revision: Revision, photo: Photo, label_set: LabelSet) -> str:
    """One line on a revision."""
    total = sum(revision.classes.values())
    largest = sorted((i for i in revision.classes if i < len(label_set)), key=lambda i: -revision.classes[i])
    things = [i for i in largest if i != label_set.background][:3]
    shares = ", ".join(f"{label_set.classes[i]} {100 * revision.classes[i] / total:.0f} %" for i in things)
    kind = "kept beside" if revision.kind == "refused" else revision.kind
    if revision.kind == "restored":
        kind = f"restored from {revision.base}"
    when = revision.time[:16].replace("T", " ")
    newest = " (newest)" if revision.number == photo.revision else ""
    return f"{revision.number}{newest} · {kind} · {when} UTC · {shares or 'background only'}"
