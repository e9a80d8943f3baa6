// Hands on the photo that a mask canvas will probably show next. `props.value` is what `payload` of __init__.py builds.
import { plain } from "../dom.js";

export function mount(_element, { props, watch }) {
  watch("value", () => document.dispatchEvent(new CustomEvent("sc-ahead", { detail: plain(props.value) })));
}
