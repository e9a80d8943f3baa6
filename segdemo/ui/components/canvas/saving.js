// What keeps a person's work: drafts in the browser, the mask on the server, and masks from files.
import { fromBase64 } from "./base64.js";
import { makeDrafts } from "./drafts.js";

const IDLE = 2000; // milliseconds without a change after which the page saves by itself
const AGAIN = 10000; // milliseconds after which a server that could not be reached is asked again

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
  let timer = 0,
    idle = 0;
  let writing = Promise.resolve(); // the drafts on their way
  let written = null; // key of the last of them
  let sending = Promise.resolve(); // the masks: each is made from the revision that the one before it became
  // The time in which a photo is open, from `begin` until another one is: what is saved in it by itself is one revision.
  let sitting = { key: null };
  const onTheWay = new Map(); // key of a photo -> its last save that has no answer yet
  const held = []; // events "saved" of a photo that is being left: the page hears of them when the next one is there

  function writeDraft() {
    clearTimeout(timer);
    if (e.map && editor.dirty() && state.payload) {
      const put = putDraft(e.map); // begins at once: a page that is being left does not wait
      written = state.payload.key;
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
      if (key === written) await writing;
      const draft = await drafts.get(key);
      const fits = draft && draft.width === width && draft.height === height && draft.labels === labels.name;
      return fits ? { ...draft, map: (await codec.call("decode", draft.png)).data } : null;
    } catch {
      return null;
    }
  }

  function begin() {
    clearTimeout(idle);
    const { payload, revision } = state;
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`; // randomUUID wants https
    sitting = { key: payload.key, name: payload.name, id, revision, sent: 0 };
    say("");
    tellHeld();
  }

  const say = (text, kind) => editor.toolbar.say(text, kind);
  const savesItself = () =>
    Boolean(state.payload?.autosave && server.save_mask && e.history) && !sitting.asked;
  const isDue = () => savesItself() && e.version !== e.savedVersion && e.version !== sitting.sent;

  // After a change: the mask is saved once nothing happens for a while.
  function saveSoon() {
    clearTimeout(idle);
    if (!savesItself()) return;
    if (isDue()) say("Edited");
    idle = setTimeout(() => (e.active || editor.thing.isBusy() ? saveSoon() : saveNow()), IDLE);
  }

  // Nobody asked for it, so that the next save takes its place.
  function saveNow() {
    if (isDue()) send(true);
  }

  // Somebody asked for it; what is being selected belongs to the mask.
  async function save() {
    if (e.saving || !e.history || !server.save_mask) return;
    const { payload } = state;
    await editor.thing.accept();
    if (payload === state.payload) await send(false);
  }

  // The photo is being left: what is not saved is sent, `always` even if nothing was changed. Whether anything was.
  function leave(always = false) {
    editor.thing.finish();
    const due = server.save_mask && e.history && (isDue() || (always && !sitting.asked));
    if (due) {
      sitting.left = true;
      send(false);
    }
    return Boolean(due);
  }

  // Sends the mask as it is now.
  function send(auto) {
    clearTimeout(idle);
    const at = sitting,
      { version } = e;
    const png = canvas.downloads.encode("yours").then(toBase64);
    png.catch(() => {}); // it is waited for later
    at.sent = version; // 0 once it has failed
    e.saving ||= !auto;
    say("Saving…");
    editor.toolbar.refreshButtons();
    const turn = sending.then(async () => {
      try {
        await ask(at, version, await png, auto);
      } catch {
        failed(at, auto, "the server could not be reached. Your work is kept in this browser.");
        if (at === sitting) idle = setTimeout(saveNow, AGAIN);
      }
      if (onTheWay.get(at.key) === turn) onTheWay.delete(at.key);
      if (at === sitting) e.saving &&= auto;
      editor.toolbar.refreshButtons();
    });
    onTheWay.set(at.key, (sending = turn));
    return turn;
  }

  async function ask(at, version, png, auto) {
    const { key, revision, id } = at;
    if (at.asked && auto) return;
    const answer = await server.save_mask({ key, png, revision, sitting: id, auto });
    if (answer.conflict) return askAboutConflict(at, answer);
    if (answer.error) return failed(at, auto, answer.error);
    at.revision = answer.revision;
    at.asked = false;
    state.saved = { key, revision: answer.revision };
    if (at === sitting) {
      state.revision = answer.revision;
      e.savedVersion = version;
      if (!editor.dirty()) await dropDraft(key);
      if (at.told) banner("");
      at.told = false;
      say(e.version === version ? answer.message || "Saved" : "Edited");
      nodes.root.dataset.saved = String(answer.revision);
    } else if (at.key !== sitting.key) await dropDraft(key);
    if (!auto) announce("Saved");
    held.push({ key, revision: answer.revision });
    if (at !== sitting || !at.left) tellHeld();
    else setTimeout(tellHeld, IDLE); // no other photo came
  }

  function tellHeld() {
    for (const told of held.splice(0)) trigger("saved", { ...told, open: state.payload.key });
  }

  function failed(at, auto, why) {
    at.sent = 0;
    if (at !== sitting) return banner(`${at.name} is not saved: ${why}`, "error");
    at.left = false;
    say(`Not saved: ${why}`, "error");
    announce(`Not saved: ${why}`);
    if (!auto || !at.told) banner(`Not saved: ${why}`, "error", ["Try again", save]);
    at.told = true;
  }

  // Resolves when no save of a photo is on its way any more.
  const settled = (key) => onTheWay.get(key);

  // Two tabs, one photo: nobody's work is overwritten without being asked.
  function askAboutConflict(at, answer) {
    if (at !== sitting) return banner(answer.conflict, "warning");
    at.told = at.asked = true; // until there is an answer, nothing is saved by itself
    say("Not saved: it was saved elsewhere too", "error");
    const overwrite = () => {
      at.revision = state.revision = answer.revision ?? null;
      at.asked = false;
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

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden || !element.isConnected) return;
    writeDraft();
    saveNow();
  });
  addEventListener("pagehide", () => element.isConnected && writeDraft());
  const drafting = { writeDraft, writeDraftSoon, renewDraft, readDraft, restore };
  return { ...drafting, begin, save, saveSoon, saveNow, leave, settled, importFile };
}
