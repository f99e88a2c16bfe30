// Voices: the list, and a dialog that uploads one with its speaker's consent.

import { get, send } from "./api.js";
import { el, tell } from "./dom.js";
import { openMicrophone } from "./microphone.js";
import { t } from "./texts.js";

let voices = [];

export async function loadVoices() {
  voices = (await get("/v1/voices")).data;
  return voices;
}

export const isUploaded = id => voices.some(voice => voice.id === id && voice.source === "uploaded");

// A select of voices, with buttons to add one and to delete one that was uploaded.
export function voicePicker(chosen, changed) {
  const select = el("select");
  const remove = el("button", { type: "button", hidden: true }, t("deleteVoice"));
  const show = () => {
    select.replaceChildren(el("option", { value: "" }, t("defaultVoice")), ...voices.map(voice =>
      el("option", { value: voice.id }, `${voice.name}${voice.language ? `, ${t(`language.${voice.language}`)}` : ""}`)));
    select.value = voices.some(voice => voice.id === chosen) ? chosen : "";
    remove.hidden = !isUploaded(select.value);
  };
  const choose = id => {
    chosen = id;
    show();
    changed(chosen);
  };
  select.onchange = () => choose(select.value);
  remove.onclick = async () => {
    await send(`/v1/voices/${chosen}`, undefined, "DELETE");
    await loadVoices();
    choose("");
    select.focus();
  };
  const add = el("button", { type: "button", onclick: () => uploadDialog(async id => { await loadVoices(); choose(id); }) }, t("addVoice"));
  show();
  return [el("label", {}, t("voice"), select), el("div.row", {}, add, remove)];
}

function uploadDialog(added) {
  const name = el("input", { required: true, maxLength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9 _\\-]*" });
  const file = el("input", { type: "file", accept: "audio/*,video/*,.opus,.flac" });
  const words = el("input", { maxLength: 2000 });
  const consent = el("textarea", { required: true, maxLength: 2000, placeholder: t("consentHint") });
  const agreed = el("input", { type: "checkbox", required: true });
  const error = el("p.error", { role: "alert", hidden: true });
  const record = el("button", { type: "button" }, t("record"));
  const heard = el("span.time");
  let [microphone, recorded] = [null, null];
  const title = el("h2", { id: "voice-title" }, t("addVoice"));
  const submit = el("button.main", { type: "submit" }, t("upload"));
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, t("cancel"));
  const form = el("form.stack", {}, title, el("p.soft.small", {}, t("voiceHint")), el("label", {}, t("name"), name), el("label", {}, t("recordingOf"), file),
    el("div.row", {}, record, heard), el("label", {}, t("voiceWords"), words), el("label", {}, t("consent"), consent),
    el("label.check", {}, agreed, el("span", {}, t("agreed"))), error, el("div.row", {}, submit, cancel));
  const dialog = el("dialog", { "aria-labelledby": "voice-title" }, form);
  const fail = problem => {
    error.textContent = problem.message;
    error.hidden = false;
  };
  record.onclick = async () => {
    try {
      if (microphone) {
        recorded = await microphone.stop();
        [microphone, record.textContent] = [null, t("record")];
        heard.textContent = t("recorded");
      } else {
        microphone = await openMicrophone((_, level) => (heard.textContent = "▮".repeat(1 + Math.round(9 * level))));
        record.textContent = t("stop");
      }
    } catch (problem) {
      fail(problem);
    }
  };
  form.onsubmit = async event => {
    event.preventDefault();
    const sample = file.files[0] ?? recorded;
    if (!sample) return fail({ message: t("noRecording") });
    const body = new FormData();
    body.append("audio_sample", sample, sample.name ?? "voice.wav");
    for (const [field, value] of [["name", name.value.trim()], ["consent", consent.value], ...(words.value ? [["text", words.value]] : [])]) body.append(field, value);
    submit.disabled = true;
    try {
      const { id } = await send("/v1/voices", body);
      dialog.close();
      await added(id);
      tell(t("voiceAdded"));
    } catch (problem) {
      fail(problem);
    }
    submit.disabled = false;
  };
  dialog.onclose = () => {
    microphone?.stop();
    dialog.remove();
  };
  document.body.append(dialog);
  dialog.showModal();
}
