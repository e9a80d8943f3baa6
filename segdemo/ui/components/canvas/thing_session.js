// What is being selected: the steps a person took (clicks, scribbles, boxes), the server's answers to them, and the mask
// that follows. An answer is kept small, as it came, so that taking steps back costs no copies of the mask.
import { applyAnswer, around, takeRegion } from "./thing_paint.js";

// `seed` is a pixel of the region that is to be corrected, or null. A step is {clicks: [[x, y, 1 or 0], ...], box or null}.
export function makeSession({ map, width, height, seed, id, only }) {
  const mask = new Uint8Array(width * height);
  const region = seed ? takeRegion(map, width, height, ...seed, mask) : null;
  const steps = [],
    answers = []; // {count: how many of the steps it answers, answer}
  let version = 0; // of the mask
  const answered = () => answers.at(-1)?.count ?? 0;

  // The box of all that may differ from the map as it was; null if nothing may.
  const bounds = () => around(region?.box, ...answers.map(({ answer }) => answer.box));

  function rebuild(box) {
    version++;
    const [x0, y0, x1, y1] = box;
    for (let y = y0; y < y1; y++) mask.fill(0, y * width + x0, y * width + x1);
    for (let r = 0; region && r < region.runs.length; r += 2)
      mask.fill(1, region.runs[r], region.runs[r + 1]);
    for (const { answer } of answers) applyAnswer(mask, width, height, answer);
  }

  // What to ask for all steps so far. A box that is not answered yet asks for what is in it, whatever was selected.
  function request() {
    const box = steps.findLast((step) => step.box)?.box ?? null;
    const anew = steps.slice(answered()).some((step) => step.box);
    const clicks = steps.flatMap((step) => step.clicks);
    return { clicks, box, corrects: anew ? null : bounds(), count: steps.length, last: steps.at(-1) };
  }

  // False if a step that the request was about has been taken back.
  function receive({ count, last }, answer) {
    if (steps[count - 1] !== last) return false;
    answers.push({ count, answer });
    version++;
    applyAnswer(mask, width, height, answer);
    return true;
  }

  // Returns the box that may look different now, or null.
  function takeBack() {
    const before = bounds();
    steps.pop();
    if (answered() <= steps.length) return null;
    while (answered() > steps.length) answers.pop();
    rebuild(before);
    return before;
  }

  return {
    id,
    only,
    mask,
    region,
    steps,
    bounds,
    version: () => version,
    request,
    receive,
    takeBack,
    add: (step) => steps.push(step),
    pending: () => steps.length > answered(),
    isAnswered: (step) => steps.indexOf(step) < answered(),
    giveUp: () => steps.splice(answered()), // the steps without an answer, which are forgotten
  };
}
