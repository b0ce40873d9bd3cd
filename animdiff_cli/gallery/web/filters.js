// The filters: one list of values for every setting that differs between clips.

/** Values shown before a list must be unfolded by scrolling inside it. */
const OPEN_FILTERS = 4;

/** Build the filters. `onChange` is called after each change of `filters`: setting → set of value texts. */
function buildFilters(panel, filters, onChange) {
  const heading = element("summary", {}, element("h2", { text: "Filters" }));
  const clear = element("button", { type: "button", className: "link", text: "Clear all" });
  clear.addEventListener("click", () => {
    filters.clear();
    panel.querySelectorAll("input").forEach((box) => (box.checked = false));
    onChange();
  });
  const all = element("details", { className: "all", open: matchMedia("(min-width: 800px)").matches }, heading, clear);
  varying.forEach((key, number) => all.append(filterOf(key, filters, onChange, number < OPEN_FILTERS)));
  panel.append(all);
  if (shared.length && clips.length > 1) {
    const rows = shared.map((key) => element("div", {},
      element("dt", { text: settingName(key) }), element("dd", { text: valueText(clips[0].settings[key]) })));
    all.append(element("details", { className: "shared" },
      element("summary", { text: "Same in all clips" }), element("dl", {}, ...rows)));
  }
}

function filterOf(key, filters, onChange, open) {
  const options = [...allSettings.get(key).keys()].map((text) => {
    const box = element("input", { type: "checkbox", value: text });
    box.addEventListener("change", () => {
      const wanted = filters.get(key) ?? new Set();
      if (box.checked) wanted.add(text);
      else wanted.delete(text);
      filters.set(key, wanted);
      onChange();
    });
    return element("label", { title: text }, box, element("span", { text }), element("small", {}));
  });
  return element("details", { className: "filter", open, dataset: { key } },
    element("summary", {}, settingName(key), " ", element("small", { text: options.length })),
    element("div", { className: "values" }, ...options));
}

/** Show beside each value how many clips it would leave, given the search and the other filters. */
function updateCounts(panel, query, filters) {
  panel.classList.toggle("active", [...filters.values()].some((texts) => texts.size));
  for (const section of panel.querySelectorAll(".filter")) {
    const { key } = section.dataset;
    const counts = countValues(matching(query, filters, key), key);
    section.classList.toggle("active", Boolean(filters.get(key)?.size));
    for (const label of section.querySelectorAll("label")) {
      const count = counts.get(label.querySelector("input").value)?.count ?? 0;
      label.querySelector("small").textContent = count;
      label.classList.toggle("none", count === 0);
    }
  }
}
