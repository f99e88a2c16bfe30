// What the page says, in English and German.

const ENGLISH = {
  skip: "Skip to the answer", pageLanguage: "Language of the page", keyNeeded: "This server asks for a key.", key: "Key", use: "Use",
  ask: "What to do", input: "Input", drop: "Drop recordings here, or", pick: "Choose files", record: "Record", stop: "Stop", level: "Level of the microphone",
  text: "Text", textHint: "Type or paste a text.", run: "Run", cancel: "Cancel", progress: "Progress", answer: "Answer", nothing: "Nothing has been asked yet.",
  "verb.transcribe": "Transcribe", "verb.translate": "Translate", "verb.speak": "Speak", "verb.enhance": "Enhance", "verb.caption": "Caption",
  "verb.emotion": "Emotion", "verb.understand": "Understand", "verb.chain": "Chain", "verb.live": "Live captions",
  "about.transcribe": "Speech to text, with the time of each word.", "about.translate": "Speech or text into the other language.",
  "about.speak": "Text to speech.", "about.enhance": "Noisy speech to clean speech.", "about.caption": "A sound in a sentence.",
  "about.emotion": "How a voice sounds, with the probability of each emotion.", "about.understand": "A spoken order to its intent and details.",
  "about.chain": "Several verbs in a row: each takes the answer of the one before.", "about.live": "Words while you speak. Stop ends it and keeps the recording.",
  "kind.audio": "Recording", "kind.text": "Text", language: "Language spoken", textLanguage: "Language of the text", to: "Into", voice: "Voice", speed: "Speed", seed: "Seed", verify: "Keep the input where words change",
  any: "detect", "language.en": "English", "language.de": "German", "language.zh": "Chinese", defaultVoice: "default", addVoice: "Add a voice…", deleteVoice: "Delete this voice",
  voiceHint: "Ten seconds of clear speech are enough. Only with the consent of who speaks.", name: "Name", recordingOf: "Recording", voiceWords: "What it says (optional)",
  consent: "How the speaker agreed", consentHint: "Anna has agreed in writing on …", agreed: "The speaker agrees that this voice is imitated here.", upload: "Upload",
  recorded: "Recorded.", noRecording: "Choose a recording, or record one.", voiceAdded: "The voice was added.",
  addStep: "Add a step…", removeStep: "Remove the step {step}", steps: "Steps",
  play: "Play", pause: "Pause", position: "Position", seconds: "{seconds} seconds", difference: "Difference", saveSound: "Save the sound", sound: "Sound",
  enhanced: "Enhanced", compare: "X changes between input and answer, at the same level. Difference: orange is louder, blue is quieter.",
  part: "A part of it", partHint: "Drag over the waveform, or give two times, to have a part said anew. All else stays as it is.", from: "From (s)", until: "To (s)", regenerate: "Say this part anew",
  tokens: "{count} audio tokens, 25 a second of speech: taller and greener where the model was surer. Mean probability {share} %.",
  transcript: "Transcript", captions: "Captions", correct: "Correct", done: "Done", copy: "Copy", copied: "Copied.", saveAs: "Save as {format}",
  legend: "The model's confidence:", unsure: "unsure", doubtful: "doubtful", confidence: "Confidence {share} %", silence: "Nothing is said.", empty: "Nothing.",
  source: "Source", translation: "Translation", intent: "Intent", certainty: "Confidence", soundOf: "{seconds} s of sound",
  truncated: "The file is cut short or damaged: this is the answer to what could be read.", cutShort: "The answer was cut because it became too long.",
  sequence: "What the GPT read and wrote", moreSequences: "and {count} more", "part.frames": "frames of sound", "part.letters": "text tokens", "part.task": "task", "part.lang": "language",
  "part.prompt": "audio tokens before", "part.output": "what it wrote", "count.frames": "{count} frames", "count.letters": "{count} text tokens", "count.prompt": "{count} audio tokens before",
  "count.output": "{count} tokens written",
  sameRequest: "The same request elsewhere", receipt: "Receipt", "command.curl": "curl", "command.python": "Python", "command.laura": "laura", copyCommand: "Copy the request for {name}",
  file: "File", action: "Action", open: "Open", openFile: "Open the answer to {file}", working: "Working…",
  uploading: "Sending: {share} %", waiting: "Waiting for its turn", workingShare: "Working: {share} %", reading: "Read: {seconds} s", listening: "Listening",
  cancelled: "Cancelled.", answered: "The answer is there.", reloaded: "The page was loaded again while an answer was being made, which ended it: run it again.",
  chooseFirst: "Choose, drop or record a recording first.", typeFirst: "Type a text first.", stepsFirst: "Add a step to the chain first.",
  unreachable: "The server cannot be reached. Is laura serve running?", status: "The server answered with status {status}.", cutOff: "The server broke off in the middle of the answer: run it again.",
  micRefused: "The browser does not let this page hear the microphone. Allow it beside the address, then try again.", micMissing: "There is no microphone.",
  micBusy: "The microphone cannot be opened. Another program may be using it.", micInsecure: "Browsers give the microphone to https:// and to this machine alone: open the page there.",
  model: "Model {name}", loading: "The model is being loaded…", removeFile: "Remove {file}", recordingName: "recording",
  "emotion.neutral": "neutral", "emotion.calm": "calm", "emotion.happy": "happy", "emotion.sad": "sad", "emotion.angry": "angry", "emotion.fearful": "fearful",
  "emotion.disgust": "disgust", "emotion.surprised": "surprised",
};

const GERMAN = {
  skip: "Zur Antwort springen", pageLanguage: "Sprache der Seite", keyNeeded: "Dieser Server verlangt einen Schlüssel.", key: "Schlüssel", use: "Verwenden",
  ask: "Was zu tun ist", input: "Eingabe", drop: "Aufnahmen hierher ziehen, oder", pick: "Dateien wählen", record: "Aufnehmen", stop: "Beenden", level: "Pegel des Mikrofons",
  text: "Text", textHint: "Einen Text eingeben oder einfügen.", run: "Los", cancel: "Abbrechen", progress: "Fortschritt", answer: "Antwort", nothing: "Noch ist nichts gefragt.",
  "verb.transcribe": "Abschreiben", "verb.translate": "Übersetzen", "verb.speak": "Sprechen", "verb.enhance": "Entrauschen", "verb.caption": "Beschreiben",
  "verb.emotion": "Gefühl", "verb.understand": "Verstehen", "verb.chain": "Kette", "verb.live": "Live-Untertitel",
  "about.transcribe": "Sprache als Text, mit der Zeit jedes Wortes.", "about.translate": "Sprache oder Text in die andere Sprache.",
  "about.speak": "Text als Sprache.", "about.enhance": "Verrauschte Sprache ohne das Rauschen.", "about.caption": "Ein Geräusch in einem Satz.",
  "about.emotion": "Wie eine Stimme klingt, mit der Wahrscheinlichkeit jedes Gefühls.", "about.understand": "Ein gesprochener Auftrag als Absicht und Einzelheiten.",
  "about.chain": "Mehrere Schritte hintereinander: jeder nimmt die Antwort des vorigen.", "about.live": "Wörter, während Sie sprechen. „Beenden“ schließt ab und behält die Aufnahme.",
  "kind.audio": "Aufnahme", "kind.text": "Text", language: "Gesprochene Sprache", textLanguage: "Sprache des Textes", to: "Nach", voice: "Stimme", speed: "Tempo", seed: "Startwert", verify: "Eingabe behalten, wo sich Wörter ändern",
  any: "erkennen", "language.en": "Englisch", "language.de": "Deutsch", "language.zh": "Chinesisch", defaultVoice: "voreingestellt", addVoice: "Stimme hinzufügen …", deleteVoice: "Diese Stimme löschen",
  voiceHint: "Zehn Sekunden deutlicher Sprache genügen. Nur mit der Einwilligung der Person, die spricht.", name: "Name", recordingOf: "Aufnahme", voiceWords: "Was sie sagt (freiwillig)",
  consent: "Wie die Person eingewilligt hat", consentHint: "Anna hat schriftlich eingewilligt am …", agreed: "Die Person ist einverstanden, dass ihre Stimme hier nachgeahmt wird.", upload: "Hochladen",
  recorded: "Aufgenommen.", noRecording: "Eine Aufnahme wählen oder aufnehmen.", voiceAdded: "Die Stimme ist hinzugefügt.",
  addStep: "Schritt hinzufügen …", removeStep: "Schritt {step} entfernen", steps: "Schritte",
  play: "Abspielen", pause: "Anhalten", position: "Stelle", seconds: "{seconds} Sekunden", difference: "Unterschied", saveSound: "Klang sichern", sound: "Klang",
  enhanced: "Entrauscht", compare: "X wechselt zwischen Eingabe und Antwort, gleich laut. Unterschied: orange ist lauter, blau ist leiser.",
  part: "Ein Teil davon", partHint: "Über die Wellenform ziehen oder zwei Zeiten angeben, um einen Teil neu sprechen zu lassen. Alles andere bleibt.", from: "Von (s)", until: "Bis (s)", regenerate: "Diesen Teil neu sprechen",
  tokens: "{count} Audiotoken, 25 je Sekunde Sprache: höher und grüner, wo das Modell sicherer war. Mittlere Wahrscheinlichkeit {share} %.",
  transcript: "Abschrift", captions: "Untertitel", correct: "Berichtigen", done: "Fertig", copy: "Kopieren", copied: "Kopiert.", saveAs: "Als {format} sichern",
  legend: "Sicherheit des Modells:", unsure: "unsicher", doubtful: "zweifelhaft", confidence: "Sicherheit {share} %", silence: "Es wird nichts gesagt.", empty: "Nichts.",
  source: "Original", translation: "Übersetzung", intent: "Absicht", certainty: "Sicherheit", soundOf: "{seconds} s Klang",
  truncated: "Die Datei ist abgeschnitten oder beschädigt: Dies ist die Antwort auf das, was lesbar war.", cutShort: "Die Antwort wurde zu lang und ist abgeschnitten.",
  sequence: "Was das GPT las und schrieb", moreSequences: "und {count} weitere", "part.frames": "Rahmen des Klangs", "part.letters": "Texttoken", "part.task": "Aufgabe", "part.lang": "Sprache",
  "part.prompt": "Audiotoken davor", "part.output": "was es schrieb", "count.frames": "{count} Rahmen", "count.letters": "{count} Texttoken", "count.prompt": "{count} Audiotoken davor",
  "count.output": "{count} Token geschrieben",
  sameRequest: "Dieselbe Anfrage anderswo", receipt: "Beleg", "command.curl": "curl", "command.python": "Python", "command.laura": "laura", copyCommand: "Anfrage für {name} kopieren",
  file: "Datei", action: "Handlung", open: "Öffnen", openFile: "Antwort zu {file} öffnen", working: "In Arbeit …",
  uploading: "Wird gesendet: {share} %", waiting: "Wartet, bis es an der Reihe ist", workingShare: "In Arbeit: {share} %", reading: "Gelesen: {seconds} s", listening: "Hört zu",
  cancelled: "Abgebrochen.", answered: "Die Antwort ist da.", reloaded: "Die Seite wurde neu geladen, während eine Antwort entstand, und hat sie damit beendet: bitte noch einmal.",
  chooseFirst: "Zuerst eine Aufnahme wählen, hierher ziehen oder aufnehmen.", typeFirst: "Zuerst einen Text eingeben.", stepsFirst: "Zuerst einen Schritt zur Kette hinzufügen.",
  unreachable: "Der Server ist nicht zu erreichen. Läuft laura serve?", status: "Der Server antwortete mit dem Status {status}.", cutOff: "Der Server brach mitten in der Antwort ab: bitte noch einmal.",
  micRefused: "Der Browser lässt diese Seite das Mikrofon nicht hören. Neben der Adresse erlauben, dann noch einmal versuchen.", micMissing: "Es gibt kein Mikrofon.",
  micBusy: "Das Mikrofon lässt sich nicht öffnen. Vielleicht benutzt es ein anderes Programm.", micInsecure: "Browser geben das Mikrofon nur https:// und diesem Rechner: die Seite dort öffnen.",
  model: "Modell {name}", loading: "Das Modell wird geladen …", removeFile: "{file} entfernen", recordingName: "Aufnahme",
  "emotion.neutral": "neutral", "emotion.calm": "ruhig", "emotion.happy": "fröhlich", "emotion.sad": "traurig", "emotion.angry": "wütend", "emotion.fearful": "ängstlich",
  "emotion.disgust": "angeekelt", "emotion.surprised": "überrascht",
};

export const TEXTS = { en: ENGLISH, de: GERMAN };
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("de") ? "de" : "en");

// The text of a name, with its {places} filled.
export function t(name, values = {}) {
  return (TEXTS[language][name] ?? name).replace(/\{(\w+)\}/g, (_, place) => values[place]);
}

export const pageLanguage = () => language;

// Puts the texts where the page's elements name them.
export function speakLanguage(code = language) {
  language = code;
  localStorage.setItem("language", code);
  document.documentElement.lang = code;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-name]")) element.setAttribute("aria-label", t(element.dataset.name));
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
}
