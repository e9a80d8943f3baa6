import assert from "node:assert/strict";
import test from "node:test";
import { inputFor } from "../../segdemo/ui/page.js";

const field = (shown) => {
  const input = { closest: () => ({ checkVisibility: () => shown }) };
  return input;
};
const page = (...inputs) => ({ querySelectorAll: () => inputs });
const photo = { type: "image/png" };

test("a photo goes to the field that is shown", () => {
  const [hidden, shown] = [field(false), field(true)];
  assert.equal(inputFor(page(hidden, shown), [photo]), shown);
});

test("where no field is shown, and for other files, nothing takes it", () => {
  assert.equal(inputFor(page(field(false)), [photo]), null);
  assert.equal(inputFor(page(field(true)), []), null);
  assert.equal(inputFor(page(field(true)), [{ type: "application/zip" }]), null);
});
