// The state of the page, its toolbar and its keys.

const byId = (id) => document.getElementById(id);
const view = byId("clips-view");
const filters = new Map();
const state = { view: "grid", query: "", group: "", sort: "", descending: false, x: "", y: "", selected: [] };

/** Show the clips that match, after any change. */
function update() {
  const found = sorted(matching(state.query, filters), state.sort, state.descending);
  const isGrid = state.view === "grid";
  document.body.dataset.view = state.view;
  byId("view-grid").setAttribute("aria-pressed", isGrid);
  byId("view-plot").setAttribute("aria-pressed", !isGrid);
  byId("count").textContent = found.length === clips.length
    ? `${clips.length} ${clips.length === 1 ? "clip" : "clips"}` : `${found.length} of ${clips.length} clips`;
  for (const picture of [...playing.keys()]) stop(picture);
  if (isGrid) showGrid(view, found, state.group);
  else showPlot(view, found, state.x, state.y);
  if (!found.length) view.replaceChildren(element("p", { className: "empty", text: "No clip matches." }));
  updateCounts(byId("filters"), state.query, filters);
  setPlaysAll(playsAll);
  const [first] = shownCards();
  if (first && !view.querySelector(".picture[tabindex='0']")) setReachable(first, true);
}

/** Add a clip to the comparison, or remove it. */
function select(clip, isSelected) {
  state.selected = state.selected.filter((other) => other !== clip);
  if (isSelected) state.selected.push(clip);
  const card = cardOf(clip);
  card.classList.toggle("selected", isSelected);
  card.querySelector(".pick input").checked = isSelected;
  const count = state.selected.length;
  byId("tray").hidden = count === 0;
  byId("tray-count").textContent = `${count} ${count === 1 ? "clip" : "clips"} selected`;
  byId("compare").disabled = count < 2;
}

function fillSelect(id, options, chosen) {
  byId(id).replaceChildren(...options.map(([value, text]) => element("option", { value, text, selected: value === chosen })));
  byId(id).addEventListener("change", (event) => {
    state[id] = event.target.value;
    update();
  });
  state[id] = chosen;
}

function setView(name) {
  state.view = name;
  update();
}

/** Switch between dark and light. The choice is kept by browsers that keep data of local files. */
function toggleTheme() {
  const theme = getComputedStyle(document.documentElement).colorScheme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("animdiff-theme", theme);
  } catch {
    // without storage the choice lasts until the page is closed
  }
}

function restoreTheme() {
  try {
    const theme = localStorage.getItem("animdiff-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // as the system has it
  }
}

function togglePlayAll() {
  setPlaysAll(!playsAll);
  byId("play-all").setAttribute("aria-pressed", playsAll);
}

function compareSelected() {
  if (state.selected.length > 1) openViewer(sorted(state.selected, state.sort, state.descending));
}

/** Choose the axes of a plot: what tells clips apart and has few values, prompts from top to bottom. */
function axes() {
  const [first = "", second = ""] = telling.filter((key) => key !== "format" && allSettings.get(key).size <= 40);
  return first === "prompt" ? [second, first] : [first, second];
}

restoreTheme();
const orders = [["", "as given"], ["name", "name"], ["modified", "time written"], ...varying.map((key) => [key, settingName(key)])];
fillSelect("sort", orders, "");
fillSelect("group", [["", "none"], ...varying.map((key) => [key, settingName(key)])], "");
const [firstAxis, secondAxis] = axes();
const axisOptions = [["", "–"], ...varying.map((key) => [key, settingName(key)])];
fillSelect("x", axisOptions, firstAxis);
fillSelect("y", axisOptions, secondAxis);
buildFilters(byId("filters"), filters, update);

byId("query").addEventListener("input", (event) => {
  state.query = event.target.value;
  update();
});
byId("descending").addEventListener("click", ({ target }) => {
  state.descending = !state.descending;
  target.setAttribute("aria-pressed", state.descending);
  target.textContent = state.descending ? "↑" : "↓";
  update();
});
byId("size").addEventListener("input", ({ target }) => document.body.style.setProperty("--thumb", `${target.value}px`));
byId("view-grid").addEventListener("click", () => setView("grid"));
byId("view-plot").addEventListener("click", () => setView("plot"));
byId("play-all").addEventListener("click", togglePlayAll);
byId("theme").addEventListener("click", toggleTheme);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("close-keys").addEventListener("click", () => byId("keys").close());
byId("compare").addEventListener("click", compareSelected);
byId("clear").addEventListener("click", () => [...state.selected].forEach((clip) => select(clip, false)));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const card = event.target.closest?.(".card");
  if (event.target.matches("input[type=search], select, input[type=range]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const actions = {
    "/": () => byId("query").focus(),
    "?": () => byId("keys").showModal(),
    g: () => setView("grid"),
    y: () => setView("plot"),
    p: togglePlayAll,
    t: toggleTheme,
    v: compareSelected,
  };
  if (card) {
    for (const key of ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]) actions[key] = () => moveFocus(card, key);
    actions.x = () => select(clips[card.dataset.clip], !card.classList.contains("selected"));
  }
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
});

update();
