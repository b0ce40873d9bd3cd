// One clip, or several side by side on the same frame, with their recipes.

const SPEEDS = [0.25, 0.5, 1, 2];
const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");
const viewer = document.getElementById("viewer");
/** What the viewer shows; null while it is closed. `position` is a frame, with its fraction while playing. */
let viewed = null;

/** Open clips in the viewer. One clip can be exchanged for the next with `[` and `]`. */
function openViewer(chosen) {
  viewed?.screens.forEach((screen) => screen.release());
  const length = Math.max(...chosen.map((clip) => clip.frames));
  const screens = chosen.map((clip) => new Screen(clip));
  viewed = { clips: chosen, screens, length, position: 0, isPlaying: length > 1 && !REDUCED_MOTION.matches, speed: 1, last: null };
  viewer.replaceChildren(viewerBar(chosen), stage(chosen, screens), controls(length), settingsTable(chosen));
  viewer.classList.toggle("single", chosen.length === 1);
  if (!viewer.open) viewer.showModal();
  viewer.querySelector(".toggle").focus({ preventScroll: true }); // the button that had the focus may be gone
  viewer.scrollTop = 0;
  const mine = viewed;
  for (const screen of screens) load(screen.canvas.parentElement, screen).then(() => viewed === mine && showFrame());
  showFrame();
  requestAnimationFrame((now) => advance(mine, now));
}

function viewerBar(chosen) {
  const close = element("button", { type: "button", className: "icon", text: "✕", title: "Close (Esc)", "aria-label": "Close" });
  close.addEventListener("click", () => viewer.close());
  const bar = element("header", {}, element("h2", { text: chosen.length > 1 ? `${chosen.length} clips` : chosen[0].name }));
  if (chosen.length === 1) bar.append(step("‹", "Previous clip ([)", -1), step("›", "Next clip (])", 1));
  bar.append(close);
  return bar;
}

function step(text, title, by) {
  const button = element("button", { type: "button", className: "icon", text, title, "aria-label": title });
  button.addEventListener("click", () => showNeighbour(by));
  return button;
}

/** Exchange the open clip for the one before or after it on the page. */
function showNeighbour(by) {
  if (!viewed || viewed.clips.length !== 1) return;
  const order = shownCards().map((card) => clips[card.dataset.clip]);
  const next = order[order.indexOf(viewed.clips[0]) + by];
  if (next) openViewer([next]);
}

function stage(chosen, screens) {
  const differing = differingSettings(chosen).filter((key) => key !== "format").slice(0, 6);
  return element("div", { className: "stage" }, ...chosen.map((clip, index) => panel(clip, screens[index], differing, chosen.length > 1)));
}

/** Return the settings whose values differ between clips. */
function differingSettings(chosen) {
  return varying.filter((key) => new Set(chosen.map((clip) => valueText(clip.settings[key]))).size > 1);
}

function panel(clip, screen, differing, isNamed) {
  const box = element("div", { className: "picture" },
    element("img", { src: `data:image/webp;base64,${clip.poster}`, alt: "", width: clip.width, height: clip.height }), screen.canvas);
  box.style.aspectRatio = `${clip.width} / ${clip.height}`;
  box.style.maxWidth = `calc(58vh * ${clip.width / clip.height})`;
  const facts = `${clip.frames} ${clip.frames === 1 ? "frame" : "frames"} of ${clip.width}×${clip.height}, ${Number(clip.fps.toFixed(2))} fps`;
  const shown = clip.sheet.width < clip.width || clip.sheet.step > 1
    ? `, shown at ${clip.sheet.width}×${clip.sheet.height}${clip.sheet.step > 1 ? `, every ${clip.sheet.step} frames` : ""}` : "";
  const actions = element("div", { className: "actions" });
  if (clip.command) actions.append(copyButton("Copy command", clip.command, isNamed ? "" : "primary"), copyButton("Copy recipe", clip.recipe));
  if (clip.address) actions.append(element("a", { href: clip.address, className: "button", text: "Open file", target: "_blank", rel: "noopener" }));
  return element("figure", { dataset: { clip: clip.id } }, box,
    element("figcaption", {},
      ...(isNamed ? [element("h3", { text: clip.name, title: clip.path })] : []),
      ...(isNamed ? [element("p", { className: "facts" }, ...factsOf(clip, differing))] : []),
      element("p", { className: "facts" }, facts + shown, element("span", { className: "ended" })),
      ...(clip.recipe ? [] : [element("p", { className: "note", text: clip.problem })]),
      actions,
      ...(clip.command && !isNamed ? [element("code", { className: "command", text: clip.command })] : [])));
}

function controls(length) {
  const toggle = element("button", { type: "button", className: "icon primary toggle", title: "Play or pause (Space)" });
  toggle.addEventListener("click", togglePlay);
  const back = element("button", { type: "button", className: "icon", text: "−1", title: "One frame back (←)", "aria-label": "One frame back" });
  back.addEventListener("click", () => seek(Math.floor(viewed.position) - 1));
  const forward = element("button", { type: "button", className: "icon", text: "+1", title: "One frame forward (→)", "aria-label": "One frame forward" });
  forward.addEventListener("click", () => seek(Math.floor(viewed.position) + 1));
  const slider = element("input", { type: "range", className: "scrub", min: 0, max: Math.max(0, length - 1), step: 1, value: 0, "aria-label": "Frame" });
  slider.addEventListener("input", () => seek(slider.valueAsNumber));
  const speed = element("select", { className: "speed", "aria-label": "Speed" },
    ...SPEEDS.map((value) => element("option", { value, text: `${value}×`, selected: value === 1 })));
  speed.addEventListener("change", () => (viewed.speed = Number(speed.value)));
  return element("div", { className: "controls" }, toggle, back, forward, slider, element("output", { className: "frame-number" }), speed);
}

function togglePlay() {
  if (viewed.length < 2) return;
  viewed.isPlaying = !viewed.isPlaying;
  viewed.last = null;
  showFrame();
}

/** Pause at a frame; before the first comes the last. */
function seek(frame) {
  viewed.isPlaying = false;
  viewed.position = ((frame % viewed.length) + viewed.length) % viewed.length;
  showFrame();
}

function advance(mine, now) {
  if (viewed !== mine) return;
  if (viewed.isPlaying) {
    const seconds = viewed.last === null ? 0 : Math.min(0.25, (now - viewed.last) / 1000);
    viewed.position = (viewed.position + seconds * viewed.clips[0].fps * viewed.speed) % viewed.length;
    viewed.last = now;
    showFrame();
  }
  requestAnimationFrame((next) => advance(mine, next));
}

/** Draw the current frame of every clip, and show its number. */
function showFrame() {
  const frame = Math.floor(viewed.position);
  viewed.screens.forEach((screen) => screen.draw(frame));
  viewer.querySelectorAll("figure").forEach((figure, index) => {
    const { frames } = viewed.clips[index];
    figure.querySelector(".ended").textContent = frame >= frames ? " · ended" : "";
  });
  viewer.querySelector(".scrub").value = frame;
  viewer.querySelector(".frame-number").textContent = `${frame + 1} / ${viewed.length}`;
  const toggle = viewer.querySelector(".toggle");
  toggle.textContent = viewed.isPlaying ? "❚❚" : "▶";
  toggle.setAttribute("aria-label", viewed.isPlaying ? "Pause" : "Play");
}

/** Show all settings of one clip, or those that differ between several. */
function settingsTable(chosen) {
  const keys = [...allSettings.keys()].filter((key) => chosen.some((clip) => key in clip.settings));
  const differ = new Set(differingSettings(chosen));
  const rows = keys.map((key) =>
    element("tr", { className: differ.has(key) ? "differs" : "same" }, element("th", { scope: "row", text: settingName(key) }),
      ...chosen.map((clip) => element("td", { text: valueText(clip.settings[key]) }))));
  const head = element("tr", {}, element("td", {}), ...chosen.map((clip) => element("th", { scope: "col", text: clip.name, title: clip.path })));
  const table = element("table", {}, ...(chosen.length > 1 ? [element("thead", {}, head)] : []), element("tbody", {}, ...rows));
  const section = element("section", { className: "settings" });
  if (chosen.length > 1) {
    const box = element("input", { type: "checkbox" });
    box.addEventListener("change", () => section.classList.toggle("with-same", box.checked));
    section.append(element("label", {}, box, " Show settings that are the same"));
  }
  section.append(element("div", { className: "scroll" }, table));
  if (chosen.length === 1 && chosen[0].recipe) {
    section.append(element("details", {}, element("summary", { text: "Recipe as JSON" }), element("pre", { text: chosen[0].recipe })));
  }
  return section;
}

function copyButton(label, text, className = "") {
  const button = element("button", { type: "button", text: label, title: text.length < 500 ? text : "", className: `copy ${className}` });
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(text)) ? "Copied" : "Copying is not allowed here";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

/** Copy text to the clipboard; return whether the browser allowed it. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // the older way, for pages that are not served securely; in the dialog, because the rest of the page is inert
    const area = element("textarea", { value: text, className: "offscreen" });
    (viewer.open ? viewer : document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

viewer.addEventListener("close", () => {
  const [first] = viewed?.clips ?? [];
  viewed?.screens.forEach((screen) => screen.release());
  viewed = null;
  viewer.replaceChildren();
  const card = first && cards.get(first.id);
  if (card?.isConnected) focusCard(card);
});
viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
viewer.addEventListener("keydown", (event) => {
  if (!viewed || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  const frame = Math.floor(viewed.position);
  const actions = {
    ArrowLeft: () => seek(frame - 1),
    ArrowRight: () => seek(frame + 1),
    Home: () => seek(0),
    End: () => seek(viewed.length - 1),
    "[": () => showNeighbour(-1),
    "]": () => showNeighbour(1),
    c: () => viewer.querySelector(".copy")?.click(),
  };
  // the space bar presses the button that has the focus
  if (!event.target.matches("button, summary, input[type=checkbox]")) actions[" "] = togglePlay;
  if (!(event.key in actions)) return;
  event.preventDefault();
  event.stopPropagation();
  actions[event.key]();
});
