// What every component needs of the page.

// el("button", {class: "x", onclick: f, aria-label: "y"}, child, ...): text is always set as text, never as HTML,
// because class names come from people.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// Gradio's props are live proxies; plain data cannot change under one's hands.
export const plain = (value) => (value ? JSON.parse(JSON.stringify(value)) : null);

// What the browser keeps under a name between visits, or null; a value is kept first, if one is given.
export function remember(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null; // storage can be forbidden, as in a private window: nothing is lost but a preference
  }
}
