// Cards of clips, and the grid of them, with or without groups.

/** Settings shown under a clip. */
const CARD_FACTS = telling.filter((key) => !["prompt", "negative_prompt", "format"].includes(key)).slice(0, 4);

const cards = new Map();

/** Return the card of a clip. Every clip has one card, which moves between views. */
function cardOf(clip) {
  if (!cards.has(clip.id)) cards.set(clip.id, makeCard(clip));
  return cards.get(clip.id);
}

function makeCard(clip) {
  const prompt = clip.settings.prompt;
  const picture = element("button", {
    type: "button",
    className: "picture",
    tabIndex: -1,
    "aria-label": `${prompt ?? clip.name}: open`,
  });
  picture.style.aspectRatio = `${clip.width} / ${clip.height}`;
  const poster = element("img", {
    src: `data:image/webp;base64,${clip.poster}`, alt: "", decoding: "async", width: clip.width, height: clip.height,
  });
  picture.append(poster);
  const check = element("input", { type: "checkbox", tabIndex: -1, "aria-label": "Select for comparison" });
  check.addEventListener("change", () => select(clip, check.checked));
  const caption = isMissing(prompt)
    ? element("p", { className: "prompt none", text: clip.name, title: clip.path })
    : element("p", { className: "prompt", text: prompt, title: prompt });
  const card = element("article", { className: "card", dataset: { clip: clip.id } },
    element("div", { className: "frame" }, picture, element("label", { className: "pick", title: "Select (x)" }, check)),
    caption,
    element("p", { className: "facts" }, ...(clip.recipe ? factsOf(clip, CARD_FACTS) : [clip.problem])),
  );
  picture.addEventListener("click", () => openViewer([clip]));
  card.addEventListener("pointerenter", () => hover(picture, clip, true));
  card.addEventListener("pointerleave", () => hover(picture, clip, false));
  picture.addEventListener("focus", () => hover(picture, clip, true));
  picture.addEventListener("blur", () => hover(picture, clip, false));
  return card;
}

/** Return short texts like `seed 7` for the settings that a clip has. */
function factsOf(clip, keys) {
  return keys.filter((key) => !isMissing(clip.settings[key])).map((key) =>
    element("span", { className: "fact", title: `${settingName(key)} ${clip.settings[key]}` },
      element("small", { text: settingName(key) }), ` ${clip.settings[key]}`));
}

/** Play a card while the pointer is over it or the keyboard is on it. */
function hover(picture, clip, isOver) {
  if (playsAll) return;
  if (isOver) play(picture, clip, HOVER_MS, performance.now() + HOVER_MS);
  else if (!picture.matches(":focus-visible") && !picture.closest(".card").matches(":hover")) stop(picture);
}

/** Show clips in a grid, in one section per value of the setting `group`. */
function showGrid(view, found, group) {
  if (!group) {
    view.replaceChildren(gridOf(found));
    return;
  }
  const sections = [...countValues(found, group).keys()].map((text) => {
    const members = found.filter((clip) => valueText(clip.settings[group]) === text);
    const title = element("h2", { className: "group" },
      element("small", { text: settingName(group) }), ` ${text} `, element("small", { text: members.length }));
    return element("section", {}, title, gridOf(members));
  });
  view.replaceChildren(...sections);
}

function gridOf(members) {
  return element("div", { className: "grid" }, ...members.map(cardOf));
}

let playsAll = false;
const visibleCards = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const picture = target.querySelector(".picture");
    if (isIntersecting && playsAll) play(picture, clips[target.dataset.clip], SCROLL_MS, 0);
    else stop(picture);
  }
});

/** Play all cards on the screen in step, or none. */
function setPlaysAll(wanted) {
  playsAll = wanted;
  for (const picture of [...playing.keys()]) stop(picture);
  visibleCards.disconnect();
  if (wanted) document.querySelectorAll("#clips-view .card").forEach((card) => visibleCards.observe(card));
}

/** Return the cards on the page in reading order. */
function shownCards() {
  return [...document.querySelectorAll("#clips-view .card")];
}

/** Make one card the one that Tab reaches, and focus it. */
function focusCard(card, { scroll = true } = {}) {
  for (const old of document.querySelectorAll(".picture[tabindex='0']")) setReachable(old.closest(".card"), false);
  setReachable(card, true);
  if (scroll) card.querySelector(".picture").focus();
}

function setReachable(card, isReachable) {
  card.querySelector(".picture").tabIndex = isReachable ? 0 : -1;
  card.querySelector(".pick input").tabIndex = isReachable ? 0 : -1;
}

/** Move the focus from a card in the direction of an arrow key. */
function moveFocus(card, key) {
  const all = shownCards();
  const at = all.indexOf(card);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    focusCard(all[at + (key === "ArrowRight" ? 1 : -1)] ?? card);
    return;
  }
  const down = key === "ArrowDown";
  const box = card.getBoundingClientRect();
  const others = down ? all.slice(at + 1) : all.slice(0, at).reverse();
  let best = null;
  for (const other of others) {
    const place = other.getBoundingClientRect();
    if (down ? place.top <= box.top + 1 : place.top >= box.top - 1) continue;
    if (best && Math.abs(place.top - best.top) > 1) break; // the row after the next
    const distance = Math.abs(place.left - box.left);
    if (!best || distance < best.distance) best = { other, distance, top: place.top };
  }
  focusCard(best?.other ?? card);
}
