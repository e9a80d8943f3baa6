// The table of classes. `props.value` is { rows: [{ name, color }], background: index or null, fixed: rows that cannot
// be removed }; `colors` are automatic ones as "#rrggbb", `most` is how many classes there can be.
import { el, plain } from "./dom.js";

export function mount(element, { props, watch, colors, most }) {
  const root = element.querySelector(".sl");
  let table = { rows: [], background: null, fixed: 0 };

  function publish() {
    props.value = plain(table);
  }

  // The first automatic colour that no class has; they are ordered so that the first ones differ most.
  function freshColor() {
    const taken = new Set(table.rows.map((row) => row.color.toLowerCase()));
    return colors.find((color) => !taken.has(color)) ?? "#808080";
  }

  function add(names) {
    for (const name of names.slice(0, most - table.rows.length))
      table.rows.push({ name, color: freshColor() });
    draw();
    publish();
    root.querySelectorAll("input[type=text]")[table.rows.length - 1]?.focus();
  }

  function remove(index) {
    table.rows.splice(index, 1);
    if (table.background === index) table.background = null;
    else if (table.background > index) table.background--;
    draw();
    publish();
    root.querySelector(".sl-add").focus();
  }

  function rename(index, name) {
    table.rows[index].name = name;
    drawBackground();
    publish();
  }

  // A list pasted from elsewhere becomes one class a line, this one and those after it.
  function paste(event, index) {
    const lines = event.clipboardData.getData("text").split(/[\r\n]+/);
    const names = lines.map((name) => name.trim()).filter(Boolean);
    if (names.length < 2) return;
    event.preventDefault();
    table.rows[index].name = names.shift();
    const blank = table.rows.slice(Math.max(index + 1, table.fixed)).filter((row) => !row.name);
    for (const row of blank) if (names.length) row.name = names.shift();
    add(names);
  }

  function drawRow(row, index) {
    const label = `class ${index}`;
    const recolor = (event) => {
      row.color = event.target.value;
      publish();
    };
    return el(
      "li",
      {},
      el("span", { class: "sl-id" }, String(index)),
      el("input", { type: "color", value: row.color, "aria-label": `Colour of ${label}`, oninput: recolor }),
      el("input", {
        type: "text",
        value: row.name,
        maxlength: 60,
        placeholder: "Name this class…",
        "aria-label": `Name of ${label}`,
        oninput: (event) => rename(index, event.target.value),
        onpaste: (event) => paste(event, index),
        onkeydown: (event) => event.key === "Enter" && add([""]),
      }),
      el(
        "button",
        {
          type: "button",
          "aria-label": `Remove ${label}`,
          title: "Remove this class",
          disabled: index < table.fixed,
          onclick: () => remove(index),
        },
        "×",
      ),
    );
  }

  function drawBackground() {
    const select = root.querySelector("select");
    const option = (value, text) =>
      el("option", { value, selected: value === String(table.background ?? "") }, text);
    select.replaceChildren(
      option("", "none"),
      ...table.rows.map((row, index) => option(String(index), row.name || `class ${index}`)),
    );
  }

  function draw() {
    const full = table.rows.length >= most;
    const choose = (event) => {
      table.background = event.target.value === "" ? null : Number(event.target.value);
      publish();
    };
    root.replaceChildren(
      el("ol", {}, ...table.rows.map(drawRow)),
      el(
        "div",
        { class: "sl-foot" },
        el(
          "button",
          { type: "button", class: "sl-add", disabled: full, onclick: () => add([""]) },
          "Add a class",
        ),
        el("label", {}, "Background", el("select", { "aria-label": "Background class", onchange: choose })),
      ),
    );
    drawBackground();
  }

  function show() {
    if (props.value?.rows) table = plain(props.value);
    draw();
  }

  watch("value", show);
  show();
}
