// Play clips: read their sheets, and draw frames on canvases.

/** Decoded sheets, the last used one last. A sheet of 16 frames of 256 pixels takes 4 MB. */
const sheets = new Map();
const SHEET_BUDGET = 96 << 20;

/** Return the sheet of a clip as a decoded image. */
function sheetOf(clip) {
  let loading = sheets.get(clip.id);
  sheets.delete(clip.id);
  loading ??= decodeSheet(clip).catch((error) => {
    sheets.delete(clip.id);
    throw error;
  });
  sheets.set(clip.id, loading);
  let pixels = 0;
  for (const id of [...sheets.keys()].reverse()) {
    const { width, height, count } = clips[id].sheet;
    pixels += width * height * count;
    if (4 * pixels > SHEET_BUDGET && id !== clip.id) sheets.delete(id);
  }
  return loading;
}

async function decodeSheet(clip) {
  if (!clip.source) await embedded(clip);
  const image = new Image();
  image.src = clip.source ?? `data:image/webp;base64,${document.getElementById(`sheet-${clip.id}`).textContent}`;
  await image.decode();
  return createImageBitmap(image); // an image element is decoded again whenever the browser drops its pixels
}

/** Wait until the sheet of a clip, which stands at the end of the page, has been read. */
async function embedded(clip) {
  if (!document.getElementById(`sheet-${clip.id}`) && document.readyState === "loading") {
    await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
  }
}

/** Canvases to use again: browsers take long to give back the memory of hundreds. */
const spareCanvases = [];

/** A canvas that shows one frame of a clip. Hidden until its first frame is there. */
class Screen {
  constructor(clip) {
    this.clip = clip;
    this.shown = -1;
    this.image = null;
    this.canvas = spareCanvases.pop() ?? element("canvas");
    this.canvas.classList.remove("ready");
    for (const side of ["width", "height"]) {
      if (this.canvas[side] !== clip.sheet[side]) this.canvas[side] = clip.sheet[side];
    }
    this.context = this.canvas.getContext("2d", { willReadFrequently: true }); // small pictures need no GPU
  }

  /** Take the canvas off the page. The screen is not used afterwards. */
  release() {
    this.canvas.remove();
    spareCanvases.push(this.canvas);
  }

  /** Show a frame of the clip. After the last frame, the last one stays. */
  draw(frame) {
    const { columns, width, height, count, step } = this.clip.sheet;
    const index = Math.max(0, Math.min(count - 1, Math.floor(frame / step)));
    if (!this.image || index === this.shown) return;
    this.shown = index;
    const x = (index % columns) * width;
    const y = Math.floor(index / columns) * height;
    this.context.drawImage(this.image, x, y, width, height, 0, 0, width, height);
    this.canvas.classList.add("ready");
  }
}

/** Read the sheet of a screen; then it draws frames. A picture without a sheet says so. */
async function load(picture, screen) {
  try {
    screen.image = await sheetOf(screen.clip);
  } catch {
    picture.classList.add("missing");
  }
}

/** Milliseconds before a clip plays. Cards that the pointer or the page only passes do not: no sheet is decoded for them. */
const HOVER_MS = 50;
const SCROLL_MS = 200;

/** Pictures that play in the grid: picture element → {clip, start in ms, screen once it is needed}. */
const playing = new Map();
let ticking = false;

/** Play a clip over its poster after `wait` ms. `start`: the time of frame 0; clips with the same start stay in step. */
function play(picture, clip, wait, start) {
  if (playing.has(picture) || clip.frames < 2) return;
  const entry = { clip, start, screen: null };
  playing.set(picture, entry);
  setTimeout(() => playing.get(picture) === entry && show(picture, entry), wait);
}

async function show(picture, entry) {
  const screen = new Screen(entry.clip);
  await load(picture, screen);
  if (playing.get(picture) !== entry) {
    screen.release();
    return;
  }
  entry.screen = screen;
  picture.append(screen.canvas);
  if (!ticking) requestAnimationFrame(tick);
  ticking = true;
}

function stop(picture) {
  playing.get(picture)?.screen?.release();
  playing.delete(picture);
}

function tick(now) {
  for (const { clip, start, screen } of playing.values()) {
    screen?.draw(Math.floor((Math.max(0, now - start) / 1000) * clip.fps) % clip.frames);
  }
  ticking = playing.size > 0;
  if (ticking) requestAnimationFrame(tick);
}
