import assert from "node:assert/strict";
import test from "node:test";
import { mount } from "../../segdemo/ui/components/review_card.js";

const page = {}; // the document
globalThis.document = page;

// As much of a document as the card needs: elements that listen, hold others, and can have the focus.
class Element {
  constructor(tag, kind = "") {
    Object.assign(this, { tag, kind, nodes: [], parent: null, heard: {}, attributes: {} });
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  addEventListener(name, listener) {
    this.heard[name] = listener;
  }
  append(...nodes) {
    for (const node of nodes) if (node instanceof Element) node.parent = this;
    this.nodes.push(...nodes);
  }
  replaceChildren(...nodes) {
    if (this.contains(page.activeElement) && page.activeElement !== this) page.activeElement = page.body; // as browsers do
    this.nodes = [];
    this.append(...nodes);
  }
  contains(node) {
    return node === this || Boolean(node?.parent && this.contains(node.parent));
  }
  closest(selector) {
    return this.kind === selector ? this : (this.parent?.closest(selector) ?? null);
  }
  focus() {
    page.activeElement = this;
  }
  find(name, value) {
    if (this.attributes[name] === value) return this;
    for (const node of this.nodes) {
      const found = node instanceof Element && node.find(name, value);
      if (found) return found;
    }
    return null;
  }
  press(key) {
    const event = { key, preventDefault() {}, stopPropagation() {} };
    this.hear(event);
  }
  hear(event) {
    this.heard.keydown?.(event);
    this.parent?.hear(event);
  }
}

const region = (number) => ({
  number,
  title: "a.jpg: is this cat, or dog?",
  saved: { url: "" },
  suggested: { url: "" },
  was: "",
  is: "",
});

// A card without a region on a page with a start button, a canvas and a field.
function card() {
  const body = new Element("body"),
    root = new Element("section"),
    start = new Element("button", "#review-start"),
    canvas = new Element("div"),
    field = new Element("input"),
    pointer = { over: null };
  body.append(root, start, canvas, field);
  Object.assign(page, {
    body,
    activeElement: body,
    createElement: (tag) => new Element(tag),
    querySelector: (selector) => (selector === ".sc:hover" ? pointer.over : null),
  });
  const props = { value: null },
    told = [];
  let changed;
  mount(
    { querySelector: () => root },
    {
      trigger: (_name, data) => told.push(data),
      props,
      watch: (_, listener) => (changed = listener),
      start: "#review-start",
    },
  );
  const show = (value) => {
    props.value = value;
    changed();
  };
  return { body, root, start, canvas, field, pointer, told, show, focused: () => page.activeElement };
}

test("a region that comes while somebody labels, or writes, leaves them the keyboard", () => {
  for (const place of ["canvas", "field"]) {
    const shown = card();
    shown[place].focus();
    shown.show(region(7));
    assert.equal(shown.focused(), shown[place]);
    shown.focused().press("t");
    assert.deepEqual(shown.told, []);
  }
});

test("its keys work at once where the keyboard is nowhere, or at the button that asked for it", () => {
  for (const place of ["body", "start"]) {
    const shown = card();
    shown[place].focus();
    shown.show(region(7));
    assert.equal(shown.focused(), shown.root);
    shown.focused().press("T");
    assert.deepEqual(shown.told, [{ number: 7, answer: "take" }]);
  }
});

test("a canvas below the pointer has the keys while the keyboard is nowhere", () => {
  const shown = card();
  shown.pointer.over = shown.canvas;
  shown.show(region(7));
  assert.equal(shown.focused(), shown.body);
});

test("the next region has the keyboard after a decision, by key or by button, unless it went on", () => {
  const shown = card();
  shown.show(region(1));
  shown.focused().press("k");
  shown.focused().press("k"); // must not answer for the next one
  shown.show(region(2));
  assert.equal(shown.focused(), shown.root);
  const button = shown.root.find("data-answer", "keep");
  button.focus();
  button.heard.click();
  shown.pointer.over = shown.canvas; // wherever the pointer is
  shown.show(region(3));
  assert.equal(shown.focused(), shown.root);
  shown.focused().press("o");
  shown.canvas.focus();
  shown.show(region(3));
  assert.equal(shown.focused(), shown.canvas);
  const answers = shown.told.map(({ number, answer }) => `${number} ${answer}`);
  assert.deepEqual(answers, ["1 keep", "2 keep", "3 open"]);
});
