// What belongs to the whole page: the theme, the three steps, and a photo from anywhere. One that is dropped or pasted goes
// where the open tab takes photos; otherwise a drop beside the field makes the browser leave the page.
import { remember } from "./components/dom.js";

const isTyping = (target) => target.closest?.("input:not([type=file]), textarea, [contenteditable]");

// The field of the open tab, if it takes these files.
export function fieldFor(document, files) {
  const fields = [...document.querySelectorAll(".segdemo-takes-photos")];
  return (files[0]?.type.startsWith("image/") && fields.find((field) => field.checkVisibility())) || null;
}

// The field's input; one that holds a photo has none until that is taken away.
async function inputOf(field) {
  const find = () => field.querySelector("input[type=file]");
  if (!find()) field.querySelector("button[aria-label='Remove Image']")?.click();
  for (let frame = 0; frame < 60 && !find(); frame++) await new Promise(requestAnimationFrame);
  return find();
}

// Whether there is a field that takes the files; it is given as many of them as it takes.
function hand(files) {
  const field = fieldFor(document, files),
    all = [...files]; // the list is emptied when the event is over
  if (!field) return false;
  inputOf(field).then((input) => {
    if (!input) return;
    const carried = new DataTransfer();
    for (const file of input.multiple ? all : all.slice(0, 1)) carried.items.add(file);
    input.files = carried.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  return true;
}

function themeSwitch(button) {
  const dark = (on) => document.body.classList.toggle("dark", on);
  const chosen = remember("segdemo-theme");
  if (chosen) dark(chosen === "dark");
  button.addEventListener("click", () => remember("segdemo-theme", dark() ? "dark" : "light"));
}

function welcome(panel, button) {
  const show = (shown) => {
    panel.hidden = !shown;
    button.setAttribute("aria-expanded", String(shown));
  };
  show(remember("segdemo-welcome") !== "closed" && innerWidth >= 1200);
  button.addEventListener("click", () => show(panel.hidden));
  // It lies over the page, so whoever goes to work has read it.
  const isOutside = (target) => !panel.contains(target) && !button.contains(target);
  document.addEventListener("click", ({ target }) => isOutside(target) && show(false));
  panel.querySelector("button").addEventListener("click", () => {
    show(false);
    remember("segdemo-welcome", "closed");
    button.focus();
  });
}

// Gradio's thumbnails are buttons without a name: they are called like the file that they show.
function nameThumbnails(document) {
  const name = () => {
    for (const button of document.querySelectorAll(".gallery-item:not([aria-label])")) {
      const file = button.querySelector("img")?.src;
      if (file)
        button.setAttribute(
          "aria-label",
          `Photo: ${decodeURIComponent(file).split("/").at(-1).split(".")[0]}`,
        );
    }
  };
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
}

// A notice that was closed stays so; another one is another element.
function closeNotices(document) {
  document.addEventListener("click", ({ target }) => {
    const notice = target.closest?.(".segdemo-close")?.closest(".segdemo-notice");
    if (notice) notice.hidden = true;
  });
}

// What lies over the page until something else is wanted: a press beside it, or Escape, closes it.
function closeWhatLiesOver(document) {
  const close = (target) => {
    for (const open of document.querySelectorAll("details.segdemo-counts[open]"))
      if (!open.contains(target)) open.open = false;
    const closer = document.getElementById("closer"),
      toggle = closer?.querySelector(".label-wrap.open");
    if (toggle && innerWidth > 800 && !closer.contains(target)) toggle.click();
  };
  document.addEventListener("pointerdown", ({ target }) => close(target));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && close(null));
}

// Past tabs and models to the canvas of the open tab, or to the first thing in it that takes the keyboard.
function skip(link) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const seen = (selector) =>
      [...document.querySelectorAll(`[role=tabpanel] ${selector}`)].find((node) => node.checkVisibility());
    (seen(".sc-stage") ?? seen(":is(input, button, select, textarea)"))?.focus();
  });
}

export function run() {
  nameThumbnails(document);
  closeNotices(document);
  closeWhatLiesOver(document);
  const byId = (id) => document.getElementById(id);
  skip(byId("segdemo-skip"));
  themeSwitch(byId("segdemo-theme"));
  welcome(byId("segdemo-welcome"), byId("segdemo-help"));
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (event.defaultPrevented || !carriesFiles(event)) return;
    event.preventDefault();
    hand(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (!isTyping(event.target) && hand(event.clipboardData?.files ?? [])) event.preventDefault();
  });
}
