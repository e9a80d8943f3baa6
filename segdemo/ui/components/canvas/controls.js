// The buttons, sliders and switches of the canvas.
import { el } from "../dom.js";
import { icon } from "./icons.js";

export const plainButton = (text, onclick, attributes) =>
  el("button", { type: "button", class: "sc-button sc-plain", onclick, ...attributes }, text);
export const row = (...children) => el("div", { class: "sc-row" }, ...children);

export function iconButton(name, label, onclick, { key, text, ...more } = {}) {
  const tip = key ? `${label} (${key})` : label;
  return el(
    "button",
    {
      type: "button",
      class: "sc-button",
      "aria-label": label,
      title: tip,
      "aria-keyshortcuts": key,
      onclick,
      ...more,
    },
    icon(name),
    text && el("span", { class: "sc-text" }, text),
  );
}

// One choice among a few, as real radio buttons: arrow keys and screen readers work without further code.
export function segmented(label, choices, value, onchange) {
  const name = `sc-${Math.random().toString(36).slice(2)}`;
  return el(
    "fieldset",
    { class: "sc-segments" },
    el("legend", { class: "sc-hidden" }, label),
    ...choices.map(([id, text]) =>
      el(
        "label",
        { class: "sc-segment" },
        el("input", {
          type: "radio",
          name,
          value: id,
          checked: id === value,
          class: "sc-hidden",
          onchange: () => onchange(id),
        }),
        el("span", {}, text),
      ),
    ),
  );
}

export function slider(label, attributes, format, oninput) {
  const output = el("output", { class: "sc-number" }, format(attributes.value));
  const input = el("input", {
    type: "range",
    class: "sc-range",
    "aria-label": label,
    ...attributes,
    oninput: () => {
      output.textContent = format(input.value);
      oninput(Number(input.value));
    },
  });
  const labelled = el("label", { class: "sc-row" }, el("span", { class: "sc-label" }, label), input, output);
  labelled.setValue = (value) => {
    input.value = value;
    output.textContent = format(value);
  };
  return labelled;
}

export function toggle(name, label, pressed, onclick, key) {
  const button = iconButton(
    name,
    label,
    () => {
      const now = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", now);
      onclick(now);
    },
    { key, text: label, class: "sc-button sc-toggle", "aria-pressed": String(pressed) },
  );
  return button;
}
