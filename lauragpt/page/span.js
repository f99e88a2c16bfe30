// A span of a sound: chosen by dragging over its picture or by two numbers, and what is to be done with it.

import { el } from "./dom.js";
import { t } from "./texts.js";

const DRAG = 5; // pixels; less is a click

// Below a `soundView` of so many seconds. `span`: [start, end] to begin with, or none. `chosen(start, end)` is asked for by the button.
export function spanPicker(view, seconds, span, chosen) {
  const field = name => el("input", { type: "number", min: 0, max: seconds.toFixed(2), step: 0.04, oninput: show, name });
  const [from, to] = [field("from"), field("to")];
  const act = el("button", { type: "button", onclick: () => chosen(...now()) }, t("regenerate"));
  const mark = el("div.span", { hidden: true });
  const screen = view.querySelector(".screen");
  screen.append(mark);

  const now = () => [from.valueAsNumber, to.valueAsNumber];
  function show() {
    const [start, end] = now();
    act.disabled = !(start < end && start >= 0 && start < seconds);
    mark.hidden = act.disabled;
    mark.style.left = `${(100 * start) / seconds}%`;
    mark.style.width = `${(100 * (Math.min(end, seconds) - start)) / seconds}%`;
  }
  function set(start, end) {
    [from.value, to.value] = [start.toFixed(2), end.toFixed(2)];
    show();
  }

  let [began, dragged] = [null, false];
  const at = event => {
    const box = screen.getBoundingClientRect();
    return seconds * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  screen.onpointerdown = event => {
    [began, dragged] = [event.button ? null : event.clientX, false];
    if (began !== null) screen.setPointerCapture(event.pointerId);
  };
  screen.onpointermove = event => {
    if (began === null || (!dragged && Math.abs(event.clientX - began) < DRAG)) return;
    dragged = true;
    const ends = [at({ clientX: began }), at(event)];
    set(Math.min(...ends), Math.max(...ends));
  };
  screen.onpointerup = screen.onpointercancel = () => (began = null);
  screen.addEventListener("click", event => dragged && event.stopImmediatePropagation(), true); // which would move the cursor

  if (span) set(...span);
  else show();
  return el("div.stack", { role: "group", "aria-label": t("part") }, el("p.soft.small", {}, t("partHint")),
    el("div.row.part", {}, el("label", {}, t("from"), from), el("label", {}, t("until"), to), act));
}
