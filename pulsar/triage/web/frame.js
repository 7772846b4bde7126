"use strict";
// The page in a notebook: what it would fetch from a server it asks of the kernel, by messages to the window around it.

const kernel = { asking: new Map(), count: 0, late: false, sheets: new Map(), facts: new Map(),
  open: null, tiles: new Set(), next: null, busy: false };
// So long [ms] an answer is waited for before the page says so: a sheet takes a tenth of a second.
const PATIENCE = 2000;

window.fetch = (path, options = {}) => kernel.facts.get(path)?.then(answer => answer.clone()) || new Promise(resolve => {
  const number = kernel.count += 1;
  const late = setTimeout(() => {
    kernel.late = true;
    tell("The kernel does not answer, and what you judge is not kept before it does: wait until the cell that it runs has "
      + "ended; if none is running, run the cell of this page again.");
  }, PATIENCE);
  kernel.asking.set(number, answer => {
    clearTimeout(late);
    resolve(answer);
  });
  parent.postMessage({ number, path, body: options.body || "" }, "*");
});

window.addEventListener("message", ({ source, data: { number, status, content } }) => {
  if (source !== parent || !kernel.asking.has(number)) return;
  if (kernel.late) tell("");
  kernel.late = false;
  kernel.asking.get(number)(new Response(content, { status }));
  kernel.asking.delete(number);
});

// The kernel draws one sheet at a time: that which is open, then those of tiles in sight, then the next of the list. What
// was passed by meanwhile is not drawn.
window.pulsarPicture = (image, path) => {
  image.dataset.sheet = path;
  if (kernel.sheets.has(path)) image.src = kernel.sheets.get(path);
  else if (image.loading === "lazy") sight.observe(image);
  else kernel[image.fetchPriority === "low" ? "next" : "open"] = image;
  queueMicrotask(drawNext);
};

const sight = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) kernel.tiles[isIntersecting ? "add" : "delete"](target);
  drawNext();
});

async function drawNext() {
  const [tile] = kernel.tiles, image = kernel.open || tile || kernel.next;
  if (kernel.busy || !image) return;
  for (const slot of ["open", "next"]) if (image === kernel[slot]) kernel[slot] = null;
  kernel.tiles.delete(image);
  sight.unobserve(image);
  const path = image.dataset.sheet;
  if (!kernel.sheets.has(path)) {
    kernel.busy = true;
    const facts = path.replace(/png$/, "json"), drawn = fetch(path);
    kernel.facts.set(facts, fetch(facts));
    const answer = await drawn;
    if (answer.ok) kernel.sheets.set(path, URL.createObjectURL(await answer.blob()));
    kernel.busy = false;
  }
  image.src = kernel.sheets.get(path) || "";
  drawNext();
}

// Within a frame an address that is only a part of the page would be one of the notebook.
document.addEventListener("click", event => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  event.preventDefault();
  location.hash = link.hash;
});
