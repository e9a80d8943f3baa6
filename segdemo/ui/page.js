// What belongs to the whole page: the theme, the three steps, and a photo from anywhere. A photo dropped anywhere or pasted goes where the open tab takes photos. Without it, a drop
// beside the field makes the browser leave the page.

const isTyping = (target) => target.closest?.("input:not([type=file]), textarea, [contenteditable]");

export function inputFor(document, files) {
  const taking = [...document.querySelectorAll(".segdemo-takes-photos input[type=file]")];
  const input = taking.find((node) => node.closest(".segdemo-takes-photos").checkVisibility());
  return input && files[0]?.type.startsWith("image/") ? input : null;
}

function hand(files) {
  const input = inputFor(document, files);
  if (!input) return false;
  const carried = new DataTransfer();
  carried.items.add(files[0]);
  input.files = carried.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  return true;
}

const remember = (name, value) => {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null; // storage can be forbidden, as in a private window
  }
};

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
  document.addEventListener("click", ({ target }) => target.closest?.("[role=tab]") && show(false));
  panel.querySelector("button").addEventListener("click", () => {
    show(false);
    remember("segdemo-welcome", "closed");
    button.focus();
  });
}

export function run() {
  const byId = (id) => document.getElementById(id);
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
