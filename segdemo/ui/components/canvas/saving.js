// What keeps a person's work: drafts in the browser, the mask on the server, and masks from files.
import { fromBase64 } from "./base64.js";
import { makeDrafts } from "./drafts.js";

const toBase64 = (bytes) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(new Blob([bytes]));
  });

export function makeSaving(canvas, editor) {
  const { element, state, nodes, codec, server, trigger } = canvas;
  const { announce, banner } = canvas.page;
  const { e } = editor;
  const drafts = makeDrafts();
  let timer = 0;
  let writing = Promise.resolve(); // the drafts on their way

  function writeDraft() {
    clearTimeout(timer);
    if (e.map && editor.dirty() && state.payload) {
      const put = putDraft(e.map); // begins at once: a page that is being left does not wait
      writing = writing.then(() => put);
    }
    return writing;
  }

  function writeDraftSoon() {
    clearTimeout(timer);
    timer = setTimeout(writeDraft, 400);
  }

  // What is on its way would come after the removal and bring the draft back.
  async function dropDraft(key) {
    clearTimeout(timer);
    await writing;
    await drafts.remove(key).catch(() => {});
  }

  // After work that was not kept as a step: the draft may hold it.
  const renewDraft = () => (editor.dirty() ? writeDraftSoon() : dropDraft(state.payload.key));

  async function putDraft(map) {
    const { key, labels } = state.payload,
      { width, height, revision, palette } = state;
    const version = e.version;
    try {
      const png = await codec.call("encode", width, height, map, palette);
      await drafts.put({ key, width, height, labels: labels.name, revision, png, when: Date.now() });
      if (version === e.version) nodes.root.dataset.draft = key;
    } catch {
      banner("This browser does not allow work to be kept here between visits: save often.", "warning");
    }
  }

  async function readDraft({ key, mode, width, height, labels }) {
    if (mode !== "edit") return null;
    try {
      const draft = await drafts.get(key);
      const fits = draft && draft.width === width && draft.height === height && draft.labels === labels.name;
      return fits ? { ...draft, map: (await codec.call("decode", draft.png)).data } : null;
    } catch {
      return null;
    }
  }

  async function save() {
    if (e.saving || !e.history || !server.save_mask) return;
    e.saving = true;
    editor.toolbar.refreshButtons();
    const { key } = state.payload;
    try {
      await editor.thing.accept(); // what is being selected belongs to the mask
      if (key !== state.payload.key) return;
      const { version } = e;
      const png = await toBase64(await canvas.downloads.encode("yours"));
      const answer = await server.save_mask({ key, png, revision: state.revision });
      if (key !== state.payload.key) return;
      if (answer.conflict) return askAboutConflict(answer);
      if (answer.error) return banner(answer.error, "error", ["Try again", save]);
      state.revision = answer.revision;
      state.saved = { key, revision: answer.revision };
      e.savedVersion = version;
      if (!editor.dirty()) await dropDraft(key);
      banner(answer.message || "Saved.", "good");
      announce("Saved");
      nodes.root.dataset.saved = String(answer.revision);
      trigger("saved", { key, revision: answer.revision });
    } catch {
      const text = "The server could not be reached. Your work is kept in this browser.";
      banner(text, "error", ["Try again", save]);
    } finally {
      e.saving = false;
      editor.toolbar.refreshButtons();
    }
  }

  // Two tabs, one photo: nobody's work is overwritten without being asked.
  function askAboutConflict(answer) {
    const overwrite = () => {
      state.revision = answer.revision ?? null;
      save();
    };
    const load = async () => {
      const { key } = state.payload;
      e.savedVersion = e.version; // leaving this photo must not write the draft again
      await dropDraft(key);
      trigger("reload", { key });
    };
    const choices = [
      ["Save mine as the newest", overwrite],
      ["Load the other one", load],
    ];
    banner(answer.conflict, "warning", ...choices);
    announce(answer.conflict);
  }

  async function importFile(file) {
    if (!file) return;
    try {
      const data = await toBase64(await file.arrayBuffer());
      const { key, width, height, labels } = state.payload;
      const answer = await server.import_mask({ key, data, width, height, labels });
      if (answer.error) return banner(answer.error, "error");
      const map = await codec.call("decode", fromBase64(answer.png));
      if (map.width !== width || map.height !== height) throw new Error("The mask does not fit the photo.");
      editor.replaceMap(`Loaded ${file.name}`, map.data);
    } catch (error) {
      banner(`The mask could not be loaded: ${error.message}`, "error");
    }
  }

  // Unsaved work comes back as one undoable step on top of what the server has, so either can be had.
  function restore(draft) {
    e.map.set(draft.map);
    e.history.mark(0, 0, state.width, state.height);
    e.history.commit("Restored unsaved work");
    e.version = 1;
    const stale = draft.revision !== state.revision ? " A newer version was saved meanwhile." : "";
    const when = new Date(draft.when).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    const discard = async () => {
      editor.undo();
      e.savedVersion = e.version;
      await dropDraft(state.payload.key);
      editor.toolbar.refreshButtons();
    };
    banner(`Your unsaved work from ${when} is back.${stale}`, "info", ["Discard it", discard]);
  }

  document.addEventListener("visibilitychange", () => document.hidden && element.isConnected && writeDraft());
  addEventListener("pagehide", () => element.isConnected && writeDraft());
  return { writeDraft, writeDraftSoon, renewDraft, readDraft, restore, save, importFile };
}
