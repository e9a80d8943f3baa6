// The menu of models: a button that tells which one is chosen, and a card of each to choose from. `props.value` is the name
// of the one chosen; `props.models` is [{ name, title, knows, group, colors, score, measured, speed, size, gain }], those of
// a group one after the other.
import { el, plain } from "./dom.js";

const MANY = 9; // models from which on there is a field to look for one by name

// The models whose title or classes hold every word of what is looked for.
export function matching(models, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return models.filter(({ title, knows }) => {
    const told = `${title} ${knows}`.toLowerCase();
    return words.every((word) => told.includes(word));
  });
}

// The index that a key leads to from the one at `at`, of boxes { left, top } in rows; undefined for any other key.
export function led(key, boxes, at) {
  const last = boxes.length - 1;
  if (last < 0) return undefined;
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (Object.hasOwn(steps, key)) return Math.max(0, Math.min(last, at + steps[key]));
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
  const { left, top } = boxes[at] ?? boxes[0],
    down = key === "ArrowDown" ? 1 : -1;
  const beyond = boxes.map((box, n) => ({ ...box, n })).filter((box) => (box.top - top) * down > 1);
  const row = Math.min(...beyond.map((box) => box.top * down));
  const inRow = beyond.filter((box) => box.top * down - row < 1);
  inRow.sort((a, b) => Math.abs(a.left - left) - Math.abs(b.left - left));
  return inRow[0]?.n ?? at;
}

const hidden = (text) => el("span", { class: "sm-unseen" }, text);

// Score and speed, as far as they are known.
const numbers = ({ score, speed }) =>
  el(
    "span",
    { class: "sm-numbers" },
    score !== null && el("span", {}, el("b", {}, score), el("small", {}, "mean IoU")),
    speed && el("span", {}, el("b", {}, speed), el("small", {}, "a photo")),
  );

const swatches = (colors) =>
  el(
    "span",
    { class: "sm-colors", "aria-hidden": true },
    ...colors.map((color) => el("i", { style: `--color: ${color}` })),
  );

function card(model, id, chosen) {
  const told = (...parts) => el("small", { class: "sm-details" }, parts.filter(Boolean).join(" · "));
  return el(
    "div",
    { id, role: "option", class: "sm-card", "data-name": model.name, "aria-selected": String(chosen) },
    el("b", { class: "sm-title", dir: "auto" }, model.title),
    el("span", { class: "sm-knows", dir: "auto" }, model.knows),
    swatches(model.colors),
    model.score !== null && el("b", { class: "sm-score" }, model.score),
    model.score !== null && el("span", { class: "sm-bar", style: `--score: ${model.score}%` }),
    told(model.measured, model.gain),
    told(model.speed && `${model.speed} a photo`, model.size),
  );
}

export function mount(element, { props, watch }) {
  const root = element.querySelector(".sm"),
    unique = `${element.id || "model-menu"}-list`;
  // Has the focus as soon as the menu is open, so that no key is lost.
  const list = el("div", {
    id: unique,
    role: "listbox",
    "aria-label": "Models",
    tabindex: 0,
    autofocus: true,
  });
  const search = el("input", {
    type: "search",
    placeholder: "Find a model",
    "aria-label": "Find a model",
    "aria-controls": unique,
    autocomplete: "off",
    hidden: true,
  });
  const menu = el("div", { class: "sm-menu", popover: "auto" }, search, list);
  const button = el("button", {
    type: "button",
    class: "sm-open",
    "aria-haspopup": "listbox",
    "aria-expanded": "false",
    "aria-controls": unique,
  });
  button.popoverTargetElement = menu;
  root.replaceChildren(button, menu);
  let models = [];
  let active = null; // name of the card that the keyboard is at

  const options = () => [...list.querySelectorAll("[role=option]")];
  const current = () => options().findIndex((option) => option.dataset.name === active);

  function drawButton() {
    const model = models.find(({ name }) => name === props.value);
    button.replaceChildren(
      el(
        "span",
        { class: "sm-name" },
        hidden("Model: "),
        el("b", { dir: "auto" }, model?.title ?? "Choose a model"),
        el("small", { dir: "auto" }, [model?.knows, model?.gain].filter(Boolean).join(" · ")),
      ),
      model ? numbers(model) : "",
      el("span", { class: "sm-more", "aria-hidden": true }),
    );
  }

  function drawCards() {
    const shown = matching(models, search.hidden ? "" : search.value);
    const groups = new Map();
    for (const model of shown) groups.set(model.group, [...(groups.get(model.group) ?? []), model]);
    list.replaceChildren(
      ...[...groups].map(([title, members], n) =>
        el(
          "div",
          { role: "group", class: "sm-group", "aria-labelledby": `${unique}-group-${n}` },
          el("span", { id: `${unique}-group-${n}`, class: "sm-heading", dir: "auto" }, title),
          ...members.map((model) => {
            const chosen = model.name === props.value;
            return card(model, `${unique}-${models.indexOf(model)}`, chosen);
          }),
        ),
      ),
    );
    if (!shown.length) list.append(el("p", {}, "No model is called so."));
    if (current() < 0) active = shown[0]?.name ?? null;
    activate();
  }

  // Marks the card that the keyboard is at, and brings it into sight.
  function activate(index = current()) {
    const all = options();
    active = all[index]?.dataset.name ?? null;
    for (const [n, option] of all.entries()) option.classList.toggle("sm-active", n === index);
    for (const holder of [list, search])
      if (all[index]) holder.setAttribute("aria-activedescendant", all[index].id);
      else holder.removeAttribute("aria-activedescendant");
    if (menu.matches(":popover-open")) all[index]?.scrollIntoView({ block: "nearest" });
  }

  function choose(name) {
    menu.hidePopover();
    button.focus();
    if (!name || name === props.value) return;
    props.value = name;
    drawButton(); // before there is an answer
  }

  // Below the button, as wide as the window allows; the style sheet lays it at the bottom of a phone instead.
  function place() {
    const { left, bottom } = button.getBoundingClientRect();
    menu.style.setProperty("--left", `${left}px`);
    menu.style.setProperty("--top", `${bottom + 6}px`);
  }

  // The next title that begins with a letter, from the card after the one the keyboard is at.
  function spell(letter) {
    const all = options(),
      at = current();
    const ordered = [...all.slice(at + 1), ...all.slice(0, at + 1)];
    const found = ordered.find((option) =>
      option.querySelector(".sm-title").textContent.toLowerCase().startsWith(letter.toLowerCase()),
    );
    if (found) activate(all.indexOf(found));
  }

  menu.addEventListener("beforetoggle", ({ newState }) => {
    button.setAttribute("aria-expanded", String(newState === "open"));
    if (newState !== "open") return;
    search.value = "";
    search.hidden = models.length < MANY;
    active = props.value;
    drawCards();
    place();
  });
  menu.addEventListener("toggle", ({ newState }) => {
    if (newState === "open") activate();
  });
  menu.addEventListener("keydown", (event) => {
    const { key } = event,
      all = options();
    const written = event.target === search && ["ArrowLeft", "ArrowRight", "Home", "End", " "].includes(key);
    if (event.ctrlKey || event.metaKey || event.altKey || written) return;
    const to = led(
      key,
      all.map((option) => option.getBoundingClientRect()).map(({ left, top }) => ({ left, top })),
      current(),
    );
    if (to !== undefined) activate(to);
    else if (key === "Enter" || key === " ") choose(active);
    else if (key === "Tab") menu.hidePopover();
    else if (key.length === 1 && event.target !== search) {
      if (search.hidden) spell(key);
      else return search.focus(); // which the letter goes to
    } else return;
    if (key !== "Tab") event.preventDefault();
    event.stopPropagation(); // letters are tools of the canvas
  });
  menu.addEventListener("click", ({ target }) => {
    const option = target.closest("[role=option]");
    if (option) choose(option.dataset.name);
  });
  search.addEventListener("input", drawCards);
  addEventListener("resize", () => menu.matches(":popover-open") && place());
  document.addEventListener("scroll", () => menu.matches(":popover-open") && place(), { passive: true });

  function show() {
    models = plain(props.models) ?? [];
    drawButton();
    if (menu.matches(":popover-open")) drawCards();
  }

  watch(Object.keys(props), show); // of everything: Gradio takes the name of a prop in quotes for that of an event
  show();
}
