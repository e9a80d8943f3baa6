// A region to decide about. `props.value` is what `review_card` of review_card.py says; an answer is the event "decide".
import { el, plain } from "./dom.js";

const ANSWERS = [
  ["keep", "k", "Keep the mask (K)"],
  ["take", "t", "Take what is suggested (T)"],
  ["open", "o", "Open it here (O)"],
];

export function mount(element, { trigger, props, watch, start }) {
  const root = element.querySelector(".rc");
  let number = null; // of the region that waits for an answer

  function decide(answer) {
    if (number === null) return;
    trigger("decide", { number, answer });
    if (answer !== "open") number = null; // a second press must not answer for the next one
  }

  // Whether the keyboard may go to the card: it is there, nowhere, or where the regions were asked for. While the focus is
  // nowhere a canvas below the pointer has the keys.
  function mayHaveKeys() {
    const active = document.activeElement;
    if (!active || active === document.body) return !document.querySelector(".sc:hover");
    return root.contains(active) || Boolean(active.closest(start));
  }

  function show() {
    const value = plain(props.value),
      free = mayHaveKeys(); // asked before the buttons, of which one may have the focus, are others
    number = value?.number ?? null;
    if (number === null) return root.replaceChildren();
    const picture = (file, text) =>
      el("figure", {}, el("img", { src: file.url, alt: text }), el("figcaption", {}, text));
    root.replaceChildren(
      el("p", {}, value.title),
      el("div", {}, picture(value.saved, value.was), picture(value.suggested, value.is)),
      el(
        "div",
        {},
        ...ANSWERS.map(([answer, , text]) =>
          el("button", { type: "button", "data-answer": answer, onclick: () => decide(answer) }, text),
        ),
      ),
    );
    if (free) root.focus({ preventScroll: true }); // its keys work at once
  }

  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const found = ANSWERS.find(([, key]) => key === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    event.stopPropagation();
    root.focus({ preventScroll: true });
    decide(found[0]);
  });
  watch("value", show);
  show();
}
