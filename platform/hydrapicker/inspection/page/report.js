// The page: what is shown of the micrographs, and what its controls do.

const NEAR_THE_WINDOW = "500px 0px"; // cards this near are drawn, all others are empty
const WORK_PER_FRAME_MS = 7;
const BINS = 100;
const numberFormat = new Intl.NumberFormat("en");
let order = micrographs.map((_, i) => i);
let focused = 0;
let enlarged = null;

// ---------------------------------------------------------------------------------------------------------- updates

let frameAsked = false;
let histogram = new Float64Array(0);
let histogramStale = true;
let settling;

function update() {
  if (frameAsked) return;
  frameAsked = true;
  requestAnimationFrame(() => { frameAsked = false; work(); });
}

// What is seen at once; the distances of the others as time allows, a few milliseconds of every frame.
function work() {
  const started = performance.now();
  const mounted = micrographs.filter((each) => each.mounted);
  const near = mounted.filter((each) => !inWindow(each.card));
  for (const each of mounted) if (!near.includes(each)) show(each);
  if (enlarged !== null) showLarge();
  const waiting = micrographs.filter((each) => each.distance !== state.distance);
  while (waiting.length && performance.now() - started < WORK_PER_FRAME_MS) bringUpToDate(waiting.pop());
  if (waiting.length) update(); else showTotals();
  if (!waiting.length && histogramStale) { histogram = countBins(); histogramStale = false; }
  clearTimeout(settling);
  settling = setTimeout(() => { for (const each of near) if (each.mounted) show(each); }, 100);
  document.body.toggleAttribute("data-working", waiting.length > 0);
  drawHistogram();
}

function inWindow(card) {
  const { top, bottom } = card.getBoundingClientRect();
  return bottom > 0 && top < window.innerHeight;
}

let announcing;

function showTotals() {
  let picks = 0;
  micrographs.forEach((each, i) => { if (!state.bad.has(i)) picks += each.picks.countAt(state.threshold); });
  byId("total-picks").textContent = numberFormat.format(picks);
  byId("total-micrographs").textContent = numberFormat.format(micrographs.length - state.bad.size);
  byId("total-bad").textContent = state.bad.size ? ` · ${state.bad.size} bad` : "";
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    byId("announcement").textContent = `${picks} picks on ${micrographs.length - state.bad.size} micrographs`;
    for (const each of micrographs) describe(each);
  }, 400);
}

function describe(micrograph) {
  const { count, median } = figuresOf(micrograph);
  const bad = micrograph.card.getAttribute("aria-selected") === "true" ? ", marked as bad" : "";
  micrograph.card.setAttribute("aria-label", `${micrograph.name}, ${count} picks, median score ${medianText(median)}${bad}`);
}

// -------------------------------------------------------------------------------------------------------- histogram

function countBins() {
  const bins = new Float64Array(BINS);
  const [low, high] = data.scoreRange;
  micrographs.forEach(({ picks }, i) => {
    if (state.bad.has(i)) return;
    for (const pick of picks.kept) {
      bins[Math.min(BINS - 1, Math.max(0, Math.floor(((picks.score(pick) - low) / (high - low)) * BINS)))]++;
    }
  });
  return bins;
}

function drawHistogram() {
  if (!data.scored) return;
  const canvas = byId("histogram"), ratio = window.devicePixelRatio || 1;
  const width = (canvas.width = Math.round(canvas.clientWidth * ratio));
  const height = (canvas.height = Math.round(canvas.clientHeight * ratio));
  const context = canvas.getContext("2d");
  const [low, high] = data.scoreRange;
  const style = getComputedStyle(document.documentElement);
  const most = Math.log1p(Math.max(...histogram, 1)); // of logarithms, or the many low scores would hide the rest
  // A range's handle has a width: its middle does not reach the ends.
  const inset = 8 * ratio, across = width - 2 * inset;
  const [above, below] = ["--accent", "--bars"].map((name) => style.getPropertyValue(name));
  histogram.forEach((count, bin) => {
    const middle = low + ((high - low) * (bin + 0.5)) / BINS;
    context.fillStyle = middle >= state.threshold ? above : below;
    const tall = (Math.log1p(count) / most) * height;
    context.fillRect(inset + (across * bin) / BINS, height - tall, across / BINS - ratio / 2, tall);
  });
  if (data.pickedThreshold !== null) {
    context.fillStyle = style.getPropertyValue("--ink");
    context.fillRect(inset + (across * (data.pickedThreshold - low)) / (high - low), 0, ratio, height);
  }
}

// ---------------------------------------------------------------------------------------------------------- gallery

function mount(micrograph, index) {
  micrograph.mounted = true;
  micrograph.canvas = fill(micrograph.card.querySelector(".frame"), micrograph, index);
  show(micrograph);
}

function unmount(micrograph) {
  micrograph.mounted = false;
  micrograph.canvas = null;
  micrograph.card.querySelector(".frame").replaceChildren();
}

function show(micrograph) {
  const { count, median } = figuresOf(micrograph);
  micrograph.card.querySelector(".count").textContent = numberFormat.format(count);
  micrograph.card.querySelector(".median").textContent = medianText(median);
  draw(micrograph, micrograph.canvas);
}

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const index = Number(target.dataset.index);
    if (isIntersecting === micrographs[index].mounted) continue;
    if (isIntersecting) mount(micrographs[index], index); else unmount(micrographs[index]);
  }
}, { rootMargin: NEAR_THE_WINDOW });

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function makeCard(micrograph, index) {
  const card = element("div", "card");
  card.dataset.index = index;
  card.id = `card-${index}`;
  card.setAttribute("role", "option");
  card.setAttribute("aria-selected", "false");
  card.tabIndex = index === 0 ? 0 : -1;
  const frame = element("div", "frame");
  frame.style.aspectRatio = `${micrograph.width} / ${micrograph.height}`;
  const caption = element("div", "caption");
  const name = element("span", "name", micrograph.name.split("/").pop());
  name.title = micrograph.name + (micrograph.image ? "" : " (no image)");
  const mark = element("span", "mark", "✕");
  mark.title = "mark as bad";
  mark.setAttribute("aria-hidden", "true");
  caption.append(name, element("span", "count"), element("span", "median"), mark);
  card.append(frame, caption);
  card.addEventListener("click", (event) => {
    focusOn(order.indexOf(index));
    if (event.target === mark) toggleBad(index); else if (frame.contains(event.target)) enlarge(index);
  });
  micrograph.card = card;
  return card;
}

function focusOn(place) {
  micrographs[order[focused]].card.tabIndex = -1;
  focused = Math.max(0, Math.min(order.length - 1, place));
  const { card } = micrographs[order[focused]];
  card.tabIndex = 0;
  card.focus({ preventScroll: true });
  const hidden = Math.max(0, document.querySelector("header").getBoundingClientRect().bottom);
  const box = card.getBoundingClientRect();
  if (box.top < hidden + 10) window.scrollBy(0, box.top - hidden - 10);
  else if (box.bottom > window.innerHeight - 10) window.scrollBy(0, Math.min(box.bottom - window.innerHeight + 10, box.top - hidden - 10));
}

function toggleBad(index) {
  const bad = !state.bad.delete(index);
  if (bad) state.bad.add(index);
  micrographs[index].card.setAttribute("aria-selected", String(bad));
  describe(micrographs[index]);
  histogramStale = true;
  update();
}

function sort() {
  const figures = micrographs.map(figuresOf);
  const [key, direction] = byId("sort").value.split("-");
  const worth = (i) => (key === "median" && Number.isNaN(figures[i].median) ? -Infinity : figures[i][key]);
  const sign = direction === "down" ? -1 : 1;
  const kept = order[focused];
  const sorted = micrographs.map((_, i) => i);
  if (key !== "name") sorted.sort((a, b) => sign * (worth(a) - worth(b)) || a - b);
  if (sorted.every((index, place) => index === order[place])) return;
  order = sorted;
  byId("gallery").append(...order.map((i) => micrographs[i].card));
  focused = order.indexOf(kept);
}

function columns() {
  return getComputedStyle(byId("gallery")).gridTemplateColumns.split(" ").length;
}

const MOVES = {
  ArrowLeft: () => focused - 1,
  ArrowRight: () => focused + 1,
  ArrowUp: () => (focused - columns() >= 0 ? focused - columns() : focused),
  ArrowDown: () => (focused + columns() < order.length ? focused + columns() : focused),
  Home: () => 0,
  End: () => order.length - 1,
};

function onGalleryKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in MOVES) focusOn(MOVES[event.key]());
  else if (event.key === " " || event.key === "b") toggleBad(order[focused]);
  else if (event.key === "Enter") enlarge(order[focused]);
  else return;
  event.preventDefault();
}

// ----------------------------------------------------------------------------------------------------------- dialog

function enlarge(index) {
  enlarged = index;
  const micrograph = micrographs[index];
  const dialog = byId("large");
  if (!dialog.open) dialog.showModal();
  const room = Math.min(dialog.clientWidth - 24, ((window.innerHeight * 0.94 - 90) * micrograph.width) / micrograph.height);
  byId("large-frame").style.width = `${Math.max(room, 120)}px`;
  micrograph.large = fill(byId("large-frame"), micrograph, index);
  byId("large-name").textContent = micrograph.name;
  showLarge();
}

function showLarge() {
  const micrograph = micrographs[enlarged];
  const { count, median } = figuresOf(micrograph);
  byId("large-figures").textContent = `${numberFormat.format(count)} picks, median score ${medianText(median)}`;
  byId("large-bad").setAttribute("aria-pressed", String(state.bad.has(enlarged)));
  draw(micrograph, micrograph.large);
}

function step(by) {
  focusOn(focused + by);
  enlarge(order[focused]);
}

function onLargeKey(event) {
  if (event.target instanceof HTMLButtonElement && event.key === " ") return;
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === "b" || event.key === " ") toggleBad(enlarged);
  else return;
  event.preventDefault();
}

// --------------------------------------------------------------------------------------------------------- controls

function pair(name, limits, change) {
  const slider = byId(name), number = byId(`${name}-number`);
  [slider.min, slider.max, slider.step] = limits;
  const set = (from, to) => {
    if (from.value === "" || !Number.isFinite(Number(from.value))) return;
    to.value = from.value;
    change(Number(from.value));
    update();
  };
  slider.addEventListener("input", () => set(slider, number));
  number.addEventListener("input", () => set(number, slider));
  for (const each of [slider, number]) each.addEventListener("change", sort);
  return (value) => { slider.value = value; number.value = value; };
}

function exportChoice() {
  const choice = {
    format_version: 1,
    threshold: state.threshold,
    min_distance_angstrom: state.distance,
    excluded_micrographs: [...state.bad].sort((a, b) => a - b).map((i) => micrographs[i].name),
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(choice, null, 2), "\n"], { type: "application/json" }));
  link.download = "choice.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function start() {
  byId("origin").textContent = data.origin;
  byId("threshold-hint").textContent = data.thresholdHint;
  byId("distance-hint").textContent = data.distanceHint;
  pair("threshold", data.scoreRange, (value) => { state.threshold = value; })(state.threshold ?? "");
  pair("distance", [0, data.mostDistanceAngstrom, 1], (value) => { state.distance = Math.max(0, value); histogramStale = true; })(0);
  if (!data.scored) for (const id of ["threshold", "threshold-number"]) byId(id).disabled = true;
  byId("contrast").addEventListener("input", ({ target }) => document.documentElement.style.setProperty("--contrast", target.value));
  byId("size").addEventListener("input", ({ target }) => document.documentElement.style.setProperty("--card", `${target.value}px`));
  byId("sort").addEventListener("change", sort);
  byId("dropped").addEventListener("change", ({ target }) => { state.showDropped = target.checked; update(); });
  byId("export").addEventListener("click", exportChoice);
  byId("gallery").append(...micrographs.map(makeCard));
  byId("gallery").addEventListener("keydown", onGalleryKey);
  byId("large").addEventListener("keydown", onLargeKey);
  byId("large").addEventListener("close", () => { enlarged = null; byId("large-frame").replaceChildren(); focusOn(focused); });
  byId("large-close").addEventListener("click", () => byId("large").close());
  byId("large-bad").addEventListener("click", () => toggleBad(enlarged));
  byId("large-previous").addEventListener("click", () => step(-1));
  byId("large-next").addEventListener("click", () => step(1));
  for (const each of micrographs) { seen.observe(each.card); describe(each); }
  new ResizeObserver(update).observe(byId("gallery"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  update();
}

start();
