// The clips and their settings: values, filters, order and groups. Changes nothing on the page.

const clips = JSON.parse(document.getElementById("clips").textContent);
clips.forEach((clip, id) => {
  clip.id = id;
  // without a prototype, so that a setting called `constructor` is missing like any other; `format` is of the file
  clip.settings = Object.assign(Object.create(null), clip.settings, { format: clip.format });
  clip.words = `${clip.settings.prompt ?? ""} ${clip.settings.negative_prompt ?? ""} ${clip.path}`.toLowerCase();
});

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function isMissing(value) {
  return value === undefined || value === null || value === "";
}

/** Return a value of a setting as text. Settings that a clip does not have are shown as a dash. */
function valueText(value) {
  return isMissing(value) ? "–" : String(value);
}

/** Compare two values of a setting: numbers by size, text by name with numbers in it by size, missing ones last. */
function compareValues(a, b) {
  const missing = isMissing(a) - isMissing(b);
  if (missing || isMissing(a)) return missing;
  if (typeof a === "number" && typeof b === "number") return a - b;
  return collator.compare(String(a), String(b));
}

/** Return the values that some clips have for a setting, in order, with the number of clips: text → {value, count}. */
function countValues(among, key) {
  const found = new Map();
  for (const clip of among) {
    const text = valueText(clip.settings[key]);
    const entry = found.get(text) ?? { value: clip.settings[key], count: 0 };
    entry.count += 1;
    found.set(text, entry);
  }
  return new Map([...found].sort(([, a], [, b]) => compareValues(a.value, b.value)));
}

/** All settings of all clips by name → their values. */
const allSettings = new Map();
for (const key of new Set(clips.flatMap((clip) => Object.keys(clip.settings)))) {
  allSettings.set(key, countValues(clips, key));
}

/** Settings that tell clips apart, and those that all clips share. */
const varying = [...allSettings.keys()].filter((key) => allSettings.get(key).size > 1);
const shared = [...allSettings.keys()].filter((key) => allSettings.get(key).size === 1);

/** Settings that differ, those that most clips have first, then those with most values. */
const telling = [...varying].sort((a, b) => coverage(b) - coverage(a) || allSettings.get(b).size - allSettings.get(a).size);

function coverage(key) {
  return clips.length - (allSettings.get(key).get("–")?.count ?? 0);
}

/** Return the clips that match the search and every filter. `filters`: setting → set of value texts. */
function matching(query, filters, except = null) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const active = [...filters].filter(([key, texts]) => texts.size && key !== except);
  return clips.filter(
    (clip) =>
      words.every((word) => clip.words.includes(word)) &&
      active.every(([key, texts]) => texts.has(valueText(clip.settings[key]))),
  );
}

/** Return clips in the order of a setting, or of `name`, `modified`. Equal ones keep the order of the page. */
function sorted(among, key, descending) {
  const value = key === "name" || key === "modified" ? (clip) => clip[key] : (clip) => clip.settings[key];
  const sign = descending ? -1 : 1;
  return [...among].sort((a, b) => sign * (compareValues(value(a), value(b)) || a.id - b.id));
}

/** Return a name of a setting for people: `motion_scale` → `motion scale`. */
function settingName(key) {
  return key.replaceAll("_", " ");
}

/** Create an element. Text is set as text, so that nothing in a recipe becomes markup. */
function element(tag, options = {}, ...children) {
  const { text, dataset, ...properties } = options;
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") created.setAttribute(name, value);
    else created[name] = value;
  }
  Object.assign(created.dataset, dataset);
  if (text !== undefined) created.textContent = text;
  created.append(...children);
  return created;
}
