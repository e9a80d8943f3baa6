// The table of classes. Gradio runs this once per component with `element`, `props` and `watch` in scope, and
// annotate_labels.py puts `facts` in front: { colors: automatic ones as "#rrggbb", most: classes there can be };
// `props.value` is { rows: [{ name, color }], background: index or null, fixed: rows that cannot be removed }.

const root = element.querySelector(".sl");
let table = { rows: [], background: null, fixed: 0 };

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function publish() {
  props.value = JSON.parse(JSON.stringify(table));
}

// The first automatic colour that no class has; they are ordered so that the first ones differ most.
function freshColor() {
  const taken = new Set(table.rows.map((row) => row.color.toLowerCase()));
  return facts.colors.find((color) => !taken.has(color)) ?? "#808080";
}

function add(names, at = table.rows.length) {
  for (const name of names.slice(0, facts.most - table.rows.length))
    table.rows.splice(at++, 0, { name, color: freshColor() });
  draw();
  publish();
  root.querySelectorAll("input[type=text]")[at - 1]?.focus();
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
  const names = event.clipboardData.getData("text").split(/[\r\n]+/).map((name) => name.trim()).filter(Boolean);
  if (names.length < 2) return;
  event.preventDefault();
  table.rows[index].name = names.shift();
  const blank = table.rows.slice(Math.max(index + 1, table.fixed)).filter((row) => !row.name);
  for (const row of blank) if (names.length) row.name = names.shift();
  add(names);
}

function drawRow(row, index) {
  const label = `class ${index}`;
  return make("li", {},
    make("span", { class: "sl-id" }, String(index)),
    make("input", { type: "color", value: row.color, "aria-label": `Colour of ${label}`,
      oninput: (event) => { row.color = event.target.value; publish(); } }),
    make("input", { type: "text", value: row.name, maxlength: 60, placeholder: "name", "aria-label": `Name of ${label}`,
      oninput: (event) => rename(index, event.target.value),
      onpaste: (event) => paste(event, index),
      onkeydown: (event) => event.key === "Enter" && add([""]) }),
    make("button", { type: "button", "aria-label": `Remove ${label}`, title: "Remove this class",
      disabled: index < table.fixed, onclick: () => remove(index) }, "×"));
}

function drawBackground() {
  const select = root.querySelector("select");
  const option = (value, text) => make("option", { value, selected: value === String(table.background ?? "") }, text);
  select.replaceChildren(option("", "none"),
    ...table.rows.map((row, index) => option(String(index), row.name || `class ${index}`)));
}

function draw() {
  root.replaceChildren(
    make("ol", {}, ...table.rows.map(drawRow)),
    make("div", { class: "sl-foot" },
      make("button", { type: "button", class: "sl-add", disabled: table.rows.length >= facts.most,
        onclick: () => add([""]) }, "Add a class"),
      make("label", {}, "Background",
        make("select", { "aria-label": "Background class",
          onchange: (event) => { table.background = event.target.value === "" ? null : Number(event.target.value); publish(); } }))));
  drawBackground();
}

function show() {
  if (props.value?.rows) table = JSON.parse(JSON.stringify(props.value));
  draw();
}

watch("value", show);
show();
