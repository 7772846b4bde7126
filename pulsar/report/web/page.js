"use strict";
// The page: its lists, the sheet beside them, keys, theme. A server that keeps judgements sets window.pulsarLabels =
// { get(uid) -> { label, note, told, others } or undefined, set(uid, { label, note }) } before this script; else
// nothing is judged.

const LABELS = { p: "pulsar", i: "interference", k: "known", n: "noise", u: "unsure" };
const began = performance.now();
const data = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const lists = new Map();
const sheet = { list: null, row: null };

// Name for judgements; empty for an observation, which has none.
function nameOf(row) {
  return row.u || row.i;
}

function labelOf(row) {
  if (!window.pulsarLabels) return data.labels && data.labels[row.u] || "";
  const judged = window.pulsarLabels.get(nameOf(row));
  return judged ? judged.told || judged.label || "" : "";
}

// A row in words: of a sheet what it measures, else what its place on the map says.
function toldOf(row) {
  const known = value => value !== null && value !== undefined;
  const across = lists.get("candidates").all.includes(row) ? "P" : "t", unit = across === "P" ? "ms" : "s";
  const numbers = [known(row.m[0]) ? `${across} ${row.m[0]} ${unit}` : "", known(row.m[1]) ? `DM ${row.m[1]}` : "",
    known(row.m[2]) ? `S/N ${row.m[2].toFixed(1)}` : ""];
  return [row.i, ...numbers].filter(Boolean).join(", ");
}

function show(list, row, open) {
  sheet.list = list;
  sheet.row = row;
  byId("say").textContent = `${row.place + 1} of ${list.view.length}: ${toldOf(row)}`;
  if (open && byId("sheet").hidden) {
    byId("sheet").hidden = false;
    document.body.classList.add("open");
    list.select(row);
    return;
  }
  if (!byId("sheet").hidden) fillSheet(list, row);
}

function fillSheet(list, row) {
  byId("sheet-title").textContent = row.i;
  byId("sheet-where").textContent = row.w;
  // A server draws sheets for the screen that shows them.
  const dense = window.pulsarSheet && devicePixelRatio > 1;
  const fine = plain => dense && plain.s ? { ...plain, s: `dense/${plain.s}` } : plain;
  const about = () => `Plot sheet of ${row.i}: ${row.a}; its numbers stand below`;
  const shown = picture(fine(row), { alt: about() });
  byId("sheet-picture").replaceChildren(shown);
  // A server that draws sheets when they are asked for tells then what they say.
  if (row.s && !row.d && window.pulsarSheet) {
    const ask = () => window.pulsarSheet(fine(row)).then(told => {
      Object.assign(row, told);
      shown.alt = about();
      if (sheet.row === row && row.d) fillFacts(list, row);
    });
    shown.addEventListener("load", ask);
    shown.addEventListener("error", ask);
  }
  fillFacts(list, row);
  byId("sheet-more").replaceChildren(...belongings(list, row));
  fillLabels(row);
  byId("sheet").scrollTop = 0;
  // The next one is there when it is asked for.
  const next = list.view[row.place + 1];
  if (next && next.s) picture(fine(next), { fetchPriority: "low" });
}

function fillFacts(list, row) {
  const facts = row.d || list.columns.map((c, at) => [c.title, c.text ? row.c[at] : row.c[at][1]]).filter(f => f[1]);
  const pairs = facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  byId("sheet-facts").replaceChildren(...pairs);
}

// The sheet of a row. Where sheets have no address (in a notebook) there is window.pulsarPicture(image, name of a sheet).
function picture(row, properties) {
  const source = row.s || (data.images[row.i] ? `data:image/png;base64,${data.images[row.i]}` : "");
  if (!source) return element("p", { className: "soft" }, nameOf(row) ? "No sheet was drawn of this row." : "");
  const image = element("img", { width: row.z[0], height: row.z[1], ...properties });
  if (row.s && window.pulsarPicture) window.pulsarPicture(image, row.s);
  else image.src = source;
  return image;
}

// Links to the owner of a row, to what belongs to it, and to its single pulses.
function belongings(list, row) {
  const made = [], link = (text, go) => {
    const button = element("button", { type: "button" }, text);
    button.addEventListener("click", go);
    return button;
  };
  const owner = row.belongs && list.all.find(other => other.i === row.o);
  if (owner) made.push(element("p", {}, `${row.r || "harmonic"} of `, link(owner.i, () => list.select(owner, true))));
  const own = list.children.get(row.i) || [];
  if (own.length) {
    made.push(element("h3", {}, `${own.length} that belong to it`));
    const shown = ["id", "period", "dm", "snr", "sigma"].map(key => list.columns.findIndex(c => c.key === key));
    const head = element("tr", {}, ...shown.map(at => element("th", { scope: "col" }, list.columns[at].title)),
      element("th", { scope: "col", className: "text" }, "what it is"));
    const lines = own.map(other => element("tr", {}, ...shown.map((at, i) => {
      const told = list.columns[at].text ? other.c[at] : other.c[at][1];
      return i ? element("td", {}, told) : element("td", {}, link(told, () => list.select(other, true)));
    }), element("td", { className: "text" }, other.r)));
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
    made.push(element("div", { className: "wide" }, table));
  }
  const pulses = list.id === "candidates" && lists.get("pulses");
  const of = pulses ? pulses.columns.findIndex(c => c.key === "source") : -1;
  const ident = row.c[list.columns.findIndex(c => c.key === "id")];
  if (of >= 0 && pulses.all.some(pulse => pulse.c[of] === ident)) {
    made.push(element("p", {}, link("Its single pulses", () => {
      pulses.input.value = `source=${ident}`;
      pulses.refresh();
      location.hash = "pulses";
    })));
  }
  return made;
}

function fillLabels(row) {
  const place = byId("sheet-labels");
  place.hidden = !window.pulsarLabels || !nameOf(row);
  if (place.hidden) return;
  const judged = window.pulsarLabels.get(nameOf(row)) || {};
  const note = element("input", { type: "text", value: judged.note || "", placeholder: "note" });
  note.setAttribute("aria-label", "Note");
  note.addEventListener("change", () => judge(row, { ...window.pulsarLabels.get(nameOf(row)), note: note.value }));
  place.replaceChildren(...Object.entries(LABELS).map(([key, label]) => {
    const button = element("button", { type: "button" }, `${label} `, element("kbd", {}, key));
    button.setAttribute("aria-pressed", String(judged.label === label));
    button.addEventListener("click", () => judge(row, { ...window.pulsarLabels.get(nameOf(row)), label }));
    return button;
  }), note, ...(judged.others || []).map(told => element("p", { className: "soft" }, told)));
}

function judge(row, verdict) {
  window.pulsarLabels.set(nameOf(row), verdict);
  const line = sheet.list && sheet.list.lineOf(row), cell = line && line.querySelector(".label");
  if (cell) cell.textContent = labelOf(row);
  byId("say").textContent = `${row.i}: ${verdict.label || "note"}`;
  if (row === sheet.row && !byId("sheet").hidden) fillLabels(row);
}

function closeSheet() {
  byId("sheet").hidden = true;
  document.body.classList.remove("open", "wide");
  byId("sheet-size").setAttribute("aria-pressed", "false");
  if (sheet.list && sheet.row) sheet.list.select(sheet.row);
}

function toggleWide() {
  byId("sheet-size").setAttribute("aria-pressed", String(document.body.classList.toggle("wide")));
}

// Parts: one is seen at a time, as the address says.
const parts = [...document.querySelectorAll("section.part")];
const links = [...document.querySelectorAll(".parts a")];
let seen = null;

function part() {
  const wanted = location.hash.slice(1);
  const named = wanted ? [...lists.values()].map(list => [list, list.all.find(r => r.i === wanted)]) : [];
  const row = named.find(found => found[1]);
  seen = row ? row[0].id : parts.some(p => p.id === wanted) ? wanted : seen || parts[0].id;
  for (const one of parts) one.hidden = one.id !== seen;
  for (const one of links) {
    if (one.hash === `#${seen}`) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  const list = lists.get(seen);
  if (list) list.fill();
  if (row) row[0].select(row[1], true);
  else if (sheet.list !== list && !byId("sheet").hidden) closeSheet();
}

// Theme: as the system says, light, dark; kept where the browser keeps anything for files.
const THEMES = ["system", "light", "dark"];

function theme(wanted) {
  if (wanted === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  byId("theme").textContent = `Theme: ${wanted}`;
  try { localStorage.setItem("pulsar-theme", wanted); } catch { /* kept nowhere */ }
  for (const list of lists.values()) list.changed();
}

function nextTheme() {
  theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "system") + 1) % THEMES.length]);
}

const KEYS = {
  j: list => list.move(1), ArrowDown: list => list.move(list.across()), k: list => list.move(-1), J: list => list.move(-1),
  ArrowUp: list => list.move(-list.across()), PageDown: list => list.move(10), PageUp: list => list.move(-10),
  Home: list => list.move(-Infinity), End: list => list.move(Infinity),
  Enter: list => {
    if (!list.current) list.move(1);
    if (byId("sheet").hidden) list.select(list.current, true);
    else toggleWide();
  },
  "/": list => { list.input.focus(); list.input.select(); },
  g: list => list.toggleTiles(), ArrowRight: list => list.move(1), ArrowLeft: list => list.move(-1),
  m: list => { const map = list.find(".map"); if (map) map.open = !map.open; },
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || byId("help").open) return;
  const list = lists.get(seen), typing = event.target.matches("input:not([type=checkbox])");
  if (event.key === "Escape") {
    if (!byId("sheet").hidden && !typing) closeSheet();
    else if (list && (list.input.value || !typing)) list.clear();
    if (typing) event.target.blur();
    return;
  }
  if (typing) {
    if (event.key === "Enter" && list && event.target === list.input) { list.input.blur(); list.move(1); }
    return;
  }
  // Elsewhere keys keep what they mean to a button, a summary or a link.
  if (event.key === "Enter" && !event.target.matches(".name, body, .scroll, tr")) return;
  if (event.key === "?") byId("help").showModal();
  else if (event.key === "t") nextTheme();
  else if (/^[1-9]$/.test(event.key) && links[event.key - 1]) location.hash = links[event.key - 1].hash;
  else if (list && list.current && nameOf(list.current) && window.pulsarLabels && LABELS[event.key]) {
    judge(list.current, { ...window.pulsarLabels.get(nameOf(list.current)), label: LABELS[event.key] });
  } else if (list && KEYS[event.key]) KEYS[event.key](list);
  else return;
  event.preventDefault();
});

for (const table of data.tables) {
  const section = byId(table.id);
  if (section) lists.set(table.id, new List(section, table, show));
}
if (lists.get("candidates").all.length) new PointMap(lists.get("candidates"), "period", "period [ms]", true);
if (lists.has("pulses")) new PointMap(lists.get("pulses"), "time", "time [s]", false);
byId("theme").addEventListener("click", nextTheme);
byId("keys").addEventListener("click", () => byId("help").showModal());
byId("sheet-close").addEventListener("click", closeSheet);
byId("sheet-size").addEventListener("click", toggleWide);
byId("sheet-back").addEventListener("click", () => sheet.list.move(-1));
byId("sheet-next").addEventListener("click", () => sheet.list.move(1));
byId("sheet-picture").addEventListener("click", toggleWide);
document.querySelector("#help .labels").hidden = !window.pulsarLabels;
window.addEventListener("hashchange", part);
let stored = "system";
try { stored = localStorage.getItem("pulsar-theme") || "system"; } catch { /* kept nowhere */ }
theme(THEMES.includes(stored) ? stored : "system");
part();
// Of a night the first thing to see is its best candidate.
if (!location.hash && lists.has("observations")) lists.get("candidates").select(lists.get("candidates").view[0], true);
// For whoever measures: how long the lists took, and when the page was ready, from the start of loading [ms].
document.documentElement.dataset.made = (performance.now() - began).toFixed(1);
document.documentElement.dataset.ready = performance.now().toFixed(1);
