// The chain builder: steps that fit one another, added, moved out and given a language.

import { el } from "./dom.js";
import { t } from "./texts.js";
import { LANGUAGES, STEPS } from "./verbs.js";

// `steps`: "enhance | translate:de". `input`: the kind that the first step takes. `changed(steps)` hears of each change.
export function chainBuilder(steps, input, changed) {
  let chain = steps.split("|").map(step => step.trim()).filter(Boolean).map(step => step.split(":"));
  const list = el("ol.chain");
  const add = el("select", { "aria-label": t("addStep") });
  const view = el("div.stack", {}, list, add);
  const kind = () => (chain.length ? STEPS[chain.at(-1)[0]][1] : input);

  function show() {
    list.replaceChildren(...chain.map(([verb, language], number) => {
      const name = t(`verb.${verb}`);
      const select = verb === "translate" && el("select", { "aria-label": t("to"), onchange: event => change(() => (chain[number][1] = event.target.value)) },
        ...LANGUAGES.map(code => el("option", { value: code, selected: code === language }, t(`language.${code}`))));
      // Only the last can go: the others' neighbours may not fit one another.
      const last = number === chain.length - 1;
      const remove = last && el("button", { type: "button", "aria-label": t("removeStep", { step: name }), onclick: () => { change(() => chain.pop()); add.focus(); } }, "×");
      return el("li", {}, name, select, remove);
    }));
    const fitting = Object.keys(STEPS).filter(verb => STEPS[verb][0].split(" ").includes(kind()));
    add.replaceChildren(el("option", { value: "" }, t("addStep")), ...fitting.map(verb => el("option", { value: verb }, t(`verb.${verb}`))));
  }
  function change(edit) {
    edit();
    show();
    changed(chain.map(([verb, language]) => (language ? `${verb}:${language}` : verb)).join(" | "));
  }
  add.onchange = () => add.value && change(() => chain.push(add.value === "translate" ? ["translate", "de"] : [add.value]));
  show();
  return view;
}
