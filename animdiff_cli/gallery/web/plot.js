// The XY plot: clips by the values of two settings.

/** A table of more cells is slow, and larger than anyone looks through. */
const MAX_CELLS = 4000;

/** Show clips in a table: values of `x` from left to right, values of `y` from top to bottom. */
function showPlot(view, found, x, y) {
  if (!x || !y || x === y) {
    view.replaceChildren(element("p", { className: "empty",
      text: varying.length < 2 ? "An XY plot needs two settings that differ between clips." : "Choose two different settings." }));
    return;
  }
  const columns = [...countValues(found, x).keys()];
  const rows = [...countValues(found, y).keys()];
  if (columns.length * rows.length > MAX_CELLS) {
    view.replaceChildren(element("p", { className: "empty",
      text: `${rows.length} × ${columns.length} cells are too many to show. Filter the clips, or choose other settings.` }));
    return;
  }
  const cells = new Map();
  for (const clip of found) {
    const at = JSON.stringify([valueText(clip.settings[x]), valueText(clip.settings[y])]);
    cells.set(at, [...(cells.get(at) ?? []), clip]);
  }
  const head = element("tr", {}, element("th", { className: "corner" },
    element("span", { text: `${settingName(x)} →` }), element("span", { text: `${settingName(y)} ↓` })),
    ...columns.map((text) => element("th", { scope: "col", title: text }, element("span", { text }))));
  const body = rows.map((row) =>
    element("tr", {}, element("th", { scope: "row", title: row }, element("span", { text: row })),
      ...columns.map((column) => {
        const members = cells.get(JSON.stringify([column, row])) ?? [];
        return element("td", {}, element("div", { className: "cell" }, ...members.map(cardOf)));
      })),
  );
  view.replaceChildren(element("div", { className: "plot", tabIndex: -1 },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body))));
}
