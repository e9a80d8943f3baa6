"""The Annotate tab: collections of photos, the canvas to label them in, revisions, export and import."""

from dataclasses import dataclass

import gradio as gr

from segdemo.core.files import StoreError
from segdemo.ui.components import label_table, photo_list
from segdemo.ui.components.photo_list import ANY_CLASS, WHICH
from segdemo.ui.components.scroll import scroll_to
from segdemo.ui.inputs import notice
from segdemo.ui.markup import html, join
from segdemo.ui.tabs.annotate.desk import EXPECTED, Desk
from segdemo.ui.tabs.annotate.layout import NOTHING, OWN, Layout

TAB = "annotate"  # id of the tab
NEWEST_REVISIONS = 30  # listed
ACCOUNT_ROWS = 200  # of an import's account that are shown


@dataclass
class _Asked:
    """One event: the values of all inputs by component, what happened, and a way to report progress."""

    form: dict
    event: gr.EventData
    progress: gr.Progress

    def __getitem__(self, component):
        return self.form[component]


def build(services, tab, tabs, shown):
    """Add the tab to the Blocks being built.

    Args:
        services: the page's ``Services``.
        tab: the ``gr.Tab`` it is in, whose id is ``TAB``.
        tabs: the ``gr.Tabs`` around it.
        shown: the ``segment.Shown`` of the Segment tab.
    """
    _Tab(Desk(services), tabs, shown).connect(tab)


class _Tab(Layout):
    """What happens on the components' events: each handler returns the updates of some of them."""

    def connect(self, tab):
        """Listen to every component, and to the tab itself."""
        on = self._on
        on(tab.select, self._enter)
        on(self.collection.input, lambda asked: self._show_collection(asked, asked[self.collection]))
        on(self.new.click, lambda asked: {self.creator: gr.update(visible=True)})
        on(self.cancel.click, lambda asked: {self.creator: gr.update(visible=False)})
        self.new_labels.change(
            lambda kind: gr.update(visible=kind == OWN),
            self.new_labels,
            self.new_table,
            api_visibility="private",
            queue=False,
        )
        gr.on([self.create.click, self.new_title.submit], **self._event(self._create))
        on(self.change.click, self._change)
        on(self.discard.click, self._delete_collection)
        on(self.files.upload, self._add_files)
        on(self.add_shown.click, self._add_shown)
        on(self.shown.correct.click, self._correct)
        gr.on(
            # Not search.input: a paste does not fire it.
            [self.search.change, self.which.input, self.class_.input, self.sort.input],
            **self._event(self._search),
            trigger_mode="always_last",
        )
        on(self.previous.click, lambda asked: self._turn(asked, -1))
        on(self.following.click, lambda asked: self._turn(asked, +1))
        see_canvas = scroll_to("#annotate-title")
        on(self.photos.pick, self._pick).then(**see_canvas)  # on a phone the list is far below
        on(self.model.input, lambda asked: self._open(asked, asked[self.collection], asked[self.opened]))
        self.canvas.ready(**see_canvas)  # once more, now that it has its height
        on(self.canvas.saved, self._saved)
        on(self.canvas.reload, self._reload)
        on(self.canvas.next, self._next, progress_on=self.photo_title)
        on(self.delete.click, self._delete)
        on(self.undo.click, self._undo)
        on(self.revisions.input, self._look_at_revision)
        on(self.restore.click, self._restore)
        on(self.export.click, self._export, progress_on=self.export)
        on(self.archive.upload, self._import, progress_on=self.archive)

    def _on(self, event, handler, progress_on=None):
        return event(**self._event(handler, progress_on))

    def _event(self, handler, progress_on=None):
        """Arguments of an event listener that answers with a handler's updates, or with a sentence."""

        def answer(form, event: gr.EventData, progress=gr.Progress()):  # noqa: B008, Gradio looks for it there
            try:
                done = handler(_Asked(form, event, progress))
            except EXPECTED as error:
                done = {self.notice: notice(str(error), alert=True)}
            return {self.notice: gr.update(visible=False), **done}

        return {
            "fn": answer,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "api_visibility": "private",
            "concurrency_limit": 4,
            "concurrency_id": "annotate",
            "show_progress": "minimal" if progress_on else "hidden",
            "show_progress_on": progress_on,
        }

    # --- collections ---

    def _enter(self, asked):
        """The tab is opened: show what was open when the visitor left, also after a reload."""
        if asked[self.opened]:
            return self._collections(asked[self.collection])
        names = [name for _, name in self.desk.collections()]
        last = asked[self.remembered]
        name = asked[self.collection] or last["collection"]
        if name not in names:
            name = names[0] if names else None
        if name is None:
            return {**self._collections(None), self.creator: gr.update(visible=True)}
        photo = last["photo"] if name == last["collection"] else None
        try:
            done = self._show_collection(asked, name, photo)
        except EXPECTED:  # it was deleted meanwhile
            done = self._show_collection(asked, name)
        del done[self.creator]  # a quick visitor may have opened it by now
        return done

    def _collections(self, name):
        """The choice of collections, ``name`` being the chosen one or None."""
        return {
            self.collection: gr.update(choices=self.desk.collections(), value=name),
            self.body: gr.update(visible=name is not None),
        }

    def _show_collection(self, asked, name, photo=None, page=1):
        """All about a collection, with one of its photos open or none."""
        collection = self.desk.store.open(name)
        label_set = collection.label_set
        asked.form.update({self.search: "", self.which: "all", self.class_: ANY_CLASS, self.seen: ()})
        models = [("no model", NOTHING), *self.desk.models(name)]
        chosen = asked[self.model]
        if chosen not in dict(map(reversed, models)) or (chosen == NOTHING and not asked[self.opened]):
            asked.form[self.model] = models[min(1, len(models) - 1)][1]
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
            **(self._open(asked, name, photo) if photo else self._close(asked, name, page)),
            self.model: gr.update(choices=models, value=asked[self.model]),
        }

    def _create(self, asked):
        kind = asked[self.new_labels]
        name = self.desk.create(asked[self.new_title], None if kind == OWN else kind, asked[self.new_table])
        fresh = {self.new_title: "", self.new_table: label_table.first_table()}
        return {**self._show_collection(asked, name), **fresh}

    def _change(self, asked):
        name, id_ = asked[self.collection], asked[self.opened]
        self.desk.change(name, asked[self.title], asked[self.table])
        return {
            **self._show_collection(asked, name, id_),
            self.notice: notice("The name and classes of the collection are saved."),
        }

    def _delete_collection(self, asked):
        name = asked[self.collection]
        title = self.desk.store.open(name).title
        key = self.desk.store.delete(name)
        left = self.desk.collections()
        shown = self._show_collection(asked, left[0][1]) if left else self._nothing_left()
        return {
            **shown,
            **self._offer_undo(f"The collection {title} is in the trash.", ("collection", key, None)),
        }

    def _nothing_left(self):
        empty = {
            self.opened: None,
            self.desktop: gr.update(visible=False),
            self.hint: gr.update(visible=True),
        }
        return {**self._collections(None), **empty, self.creator: gr.update(visible=True)}

    # --- the list ---

    def _listing(self, asked, name, page=None, current=None):
        """One page of the photos that fit search and filters; ``current`` is the open one."""
        collection = self.desk.store.open(name)
        _, annotated, deleted = WHICH[asked[self.which]]
        found = collection.photos(
            search=asked[self.search],
            class_id=None if asked[self.class_] == ANY_CLASS else asked[self.class_],
            annotated=annotated,
            deleted=deleted,
            sort=asked[self.sort],
            page=page or asked[self.page],
            per_page=photo_list.PER_PAGE,
        )
        return {
            self.photos: photo_list.listing(collection, found, current or asked[self.opened]),
            self.count: photo_list.summary(found),
            self.page: found.page,
            self.previous: gr.update(visible=found.pages > 1, interactive=found.page > 1),
            self.following: gr.update(visible=found.pages > 1, interactive=found.page < found.pages),
        }

    def _search(self, asked):
        """Also runs when the page or another event writes into the box, so what was said must stay."""
        quiet = {self.notice: gr.skip()}
        if not asked[self.collection]:
            return quiet
        return {**quiet, **self._listing(asked, asked[self.collection], page=1)}

    def _turn(self, asked, step):
        return self._listing(asked, asked[self.collection], page=asked[self.page] + step)

    def _add(self, asked, name, paths):
        """Photos into a collection, the first of them opened; sentences about those that are none."""
        ids, sentences = self.desk.add_photos(name, paths)
        updates = {self.files: None}
        if ids:
            updates |= self._show_collection(asked, name, ids[0])
            if len(ids) > 1:
                sentences.insert(0, f"{len(ids)} photos are in the collection.")
        if sentences:
            updates[self.notice] = notice(*sentences, alert=not ids)
        return updates

    def _add_files(self, asked):
        return self._add(asked, asked[self.collection], asked[self.files])

    def _add_shown(self, asked):
        name, choice = asked[self.collection], asked[self.shown.choice]
        id_ = self.desk.add_photo(name, choice.path, choice.name)
        return self._show_collection(asked, name, id_)

    def _correct(self, asked):
        """The Segment tab's photo and prediction, to be corrected here."""
        choice, model = asked[self.shown.choice], asked[self.shown.model]
        name = self.desk.collection_for(model, asked[self.collection] or asked[self.remembered]["collection"])
        id_ = self.desk.add_photo(name, choice.path, choice.name)
        asked.form[self.model] = model
        done = {self.tabs: gr.Tabs(selected=TAB), **self._show_collection(asked, name, id_)}
        if self.desk.store.open(name).photo(id_).revision:
            done[self.notice] = notice("This photo has a mask already; the prediction is under Start from.")
        return done

    def _pick(self, asked):
        id_, name = asked.event.id, asked[self.collection]
        photo = self.desk.store.open(name).photo(id_)
        if photo.deleted:
            sentence = f"{photo.source} is in the trash."
            return self._offer_undo(sentence, ("photo", name, id_), label="Take it out")
        if id_ == asked[self.opened] and asked[self.revisions] in (None, photo.revision):
            return {}  # it is open; opening it once more could undo what is done to it meanwhile
        return self._open(asked, name, id_)

    def _delete(self, asked):
        name, id_ = asked[self.collection], asked[self.opened]
        collection = self.desk.store.open(name)
        collection.delete(id_)
        offer = self._offer_undo(f"{collection.photo(id_).source} is in the trash.", ("photo", name, id_))
        return {**self._close(asked, name), **offer}

    def _offer_undo(self, sentence, what, label="Undo"):
        return {
            self.undo: label,
            self.undo_bar: gr.update(visible=True),
            self.undo_text: html('<p role="status">{}</p>', sentence),
            self.undoing: what,
        }

    def _undo(self, asked):
        if asked[self.undoing] is None:
            raise StoreError("There is nothing to take back any more.")
        kind, place, id_ = asked[self.undoing]
        if kind == "collection":
            place = self.desk.store.undelete(place).name
        else:
            self.desk.store.open(place).undelete(id_)
        done = {self.undo_bar: gr.update(visible=False), self.undoing: None}
        return {**self._show_collection(asked, place, id_), **done}

    # --- the canvas ---

    def _open(self, asked, name, id_):
        """A photo in the canvas, to be labelled."""
        photo = self.desk.store.open(name).photo(id_)
        model = asked[self.model]
        return {
            self.canvas: self.desk.payload(name, id_, None if model == NOTHING else model),
            self.desktop: gr.update(visible=True),
            self.hint: gr.update(visible=False),
            self.undo_bar: gr.update(visible=False),
            self.opened: id_,
            self.remembered: {"collection": name, "photo": id_},
            self.seen: (*(i for i in asked[self.seen] if i != id_), id_),
            **self._about(name, photo),
            **self._listing(asked, name, current=id_),
        }

    def _close(self, asked, name, page=None):
        """No photo in the canvas."""
        asked.form[self.opened] = None
        return {
            self.desktop: gr.update(visible=False),
            self.hint: gr.update(visible=True),
            self.undo_bar: gr.update(visible=False),
            self.opened: None,
            self.remembered: {"collection": name, "photo": None},
            **self._listing(asked, name, page),
        }

    def _about(self, name, photo):
        """Title and revisions of a photo."""
        state = f"revision {photo.revision}" if photo.revision else "to label"
        facts = f"{photo.width} x {photo.height} · {state}"
        label_set = self.desk.store.open(name).label_set
        listed = photo.revisions[::-1][:NEWEST_REVISIONS]
        choices = [(_describe(revision, photo, label_set), revision.number) for revision in listed]
        return {
            self.photo_title: html("<b>{}</b> <span>{}</span>", photo.source, facts),
            self.history: gr.update(visible=bool(choices)),
            self.revisions: gr.update(choices=choices, value=photo.revision or None),
            self.restore: gr.update(interactive=False),
        }

    def _saved(self, asked):
        """A mask was saved: the list and the revisions change, the canvas knows already."""
        name, _, id_ = asked.event.key.partition("/")
        if name != asked[self.collection] or id_ != asked[self.opened]:
            return self._listing(asked, asked[self.collection])
        photo = self.desk.store.open(name).photo(id_)
        return {**self._about(name, photo), **self._listing(asked, name)}

    def _reload(self, asked):
        name, _, id_ = asked.event.key.partition("/")
        return self._open(asked, name, id_)

    def _next(self, asked):
        name, model = asked[self.collection], asked[self.model]

        def looked(done, total):
            asked.progress((done, total), unit="photos")

        id_, waiting, ranked = self.desk.next_photo(
            name, None if model == NOTHING else model, asked[self.seen], looked
        )
        if id_ is None:
            return {self.notice: notice("Every photo of this collection has a mask.")}
        if id_ in asked[self.seen]:  # all had their turn
            asked.form[self.seen] = ()
        opened = self._open(asked, name, id_)
        if ranked < waiting:
            return {
                **opened,
                self.notice: notice(f"{ranked} of {waiting} photos are ranked; Next goes on with the rest."),
            }
        return opened

    def _look_at_revision(self, asked):
        """An older mask, to be looked at; the newest is the one that can be edited."""
        name, id_, number = asked[self.collection], asked[self.opened], asked[self.revisions]
        photo = self.desk.store.open(name).photo(id_)
        if number == photo.revision:
            return self._open(asked, name, id_)
        return {
            self.canvas: self.desk.payload(name, id_, revision=number),
            self.restore: gr.update(interactive=True),
            self.notice: notice(
                f"This is revision {number}, to look at: restore it, or choose the newest to go on."
            ),
        }

    def _restore(self, asked):
        name, id_, number = asked[self.collection], asked[self.opened], asked[self.revisions]
        if number is None:
            raise StoreError("Choose a revision first.")
        fresh = self.desk.store.open(name).restore(id_, number)
        return {
            **self._open(asked, name, id_),
            self.notice: notice(f"Revision {number} is the photo's mask again, as revision {fresh}."),
        }

    # --- archives ---

    def _export(self, asked):
        name = asked[self.collection]
        total = self.desk.store.open(name).photos(annotated=True).total
        path = self.desk.export(
            name, asked[self.formats], lambda done: asked.progress((done, total), unit="photos")
        )
        label = f"Download {path.name} ({path.stat().st_size / 1e6:.1f} MB)"
        return {self.download: gr.update(value=str(path), label=label, visible=True)}

    def _import(self, asked):
        name = None if asked[self.into] == "new" else asked[self.collection]
        try:
            account = self.desk.import_archive(
                asked[self.archive], name, lambda done: asked.progress((done, None), unit="photos")
            )
        except EXPECTED as error:
            hidden = gr.update(visible=False)  # the account of another import
            return {self.archive: None, self.account: hidden, self.notice: notice(str(error), alert=True)}
        return {
            self.archive: None,
            **self._show_collection(asked, account.collection),
            **self._account(account),
            self.notice: notice(*account.totals()),
        }

    def _account(self, account):
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


def _table(rows):
    """Rows of an account as HTML; the longest ones are in the file."""
    cells = (join(html("<td>{}</td>", cell) for cell in row) for row in rows[:ACCOUNT_ROWS])
    body = join(html("<tr>{}</tr>", cell) for cell in cells)
    more = len(rows) - ACCOUNT_ROWS
    rest = html("<p>{} more are in the CSV.</p>", more) if more > 0 else ""
    return html("<table><tr><th></th><th>file</th><th>what</th><th>why</th></tr>{}</table>{}", body, rest)


def _describe(revision, photo, label_set):
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
