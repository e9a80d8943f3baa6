import assert from "node:assert/strict";
import test from "node:test";
import { fieldFor } from "../../segdemo/ui/page.js";

const field = (shown) => ({ checkVisibility: () => shown });
const page = (...fields) => ({ querySelectorAll: () => fields });
const photo = { type: "image/png" };

test("a photo goes to the field that is shown", () => {
  const [hidden, shown] = [field(false), field(true)];
  assert.equal(fieldFor(page(hidden, shown), [photo]), shown);
});

test("where no field is shown, and for other files, nothing takes it", () => {
  assert.equal(fieldFor(page(field(false)), [photo]), null);
  assert.equal(fieldFor(page(field(true)), []), null);
  assert.equal(fieldFor(page(field(true)), [{ type: "application/zip" }]), null);
});
