// Brings into sight what an answer changed. Gradio calls it after an event of Python.
export function run({ selector, block, behavior = "auto", delay = 0, widest = Infinity }) {
  setTimeout(() => {
    if (innerWidth <= widest) document.querySelector(selector)?.scrollIntoView({ block, behavior });
  }, delay);
}
