"use strict";
// Judging: what the server keeps, undo, the next row without a label, rows of other beams and nights beside each other.

const triage = { kept: new Map(), undo: [], queue: Promise.resolve(), who: "" };


async function asked(path, options) {
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error || answer.statusText);
  return found;
}

function tell(problem) {
  const place = document.getElementById("triage-problem");
  place.textContent = problem;
  place.hidden = !problem;
}

function store(uid, judged) {
  if (judged) triage.kept.set(uid, judged);
  else triage.kept.delete(uid);
}

// What is shown is what the server has: it answers when a judgement is on the disk.
window.pulsarLabels = {
  get: uid => triage.kept.get(uid),
  set: (uid, verdict, undoing = false) => {
    const before = triage.kept.get(uid) || {}, label = verdict.label || "", note = verdict.note || "";
    if (label === (before.label || "") && note === (before.note || "")) return;
    if (!undoing) triage.undo.push({ uid, label: before.label || "", note: before.note || "" });
    store(uid, { ...before, label, note, told: "" });
    const body = JSON.stringify({ uid, label, note });
    const headers = { "Content-Type": "application/json" };
    triage.queue = triage.queue.then(() => asked("labels", { method: "POST", headers, body })).then(found => {
      store(uid, found.judged);
      tell("");
    }, error => {
      store(uid, before);
      // Browsers have words of their own for a server that is gone.
      tell(`Not kept: ${error instanceof TypeError ? "the server has ended; run pulsar view again" : error.message}`);
    }).then(() => shownAgain(uid));
  },
};

window.pulsarSheet = row => asked(row.s.replace(/png$/, "json")).catch(error => {
  // That a judgement was not kept stays to be read.
  if (!byId("triage-problem").textContent) tell(error.message);
  return {};
});

function shownAgain(uid) {
  for (const list of lists.values()) {
    for (const row of list.all) {
      if (uid !== null && nameOf(row) !== uid) continue;
      const line = list.lineOf(row), cell = line && line.querySelector(".label");
      if (cell) cell.textContent = labelOf(row);
    }
  }
  const row = sheet.row;
  const typing = document.activeElement && document.activeElement.closest("#sheet-labels input");
  if (row && !byId("sheet").hidden && !typing && (uid === null || nameOf(row) === uid)) fillLabels(row);
  progress();
}

function judgedRow(row) { return Boolean((triage.kept.get(nameOf(row)) || {}).label); }

function progress() {
  const list = lists.get(seen);
  const own = list ? list.all.filter(row => !row.belongs) : [];
  const place = document.getElementById("triage-progress");
  const judged = list && list.id !== "observations";
  place.textContent = judged ? `${own.filter(judgedRow).length} of ${own.length} judged` : "";
  place.title = `by ${triage.who}`;
}

async function reload() {
  const queue = triage.queue;
  await queue;
  const found = await asked("labels");
  // Something was judged meanwhile: what has come is older.
  if (queue !== triage.queue) return reload();
  triage.who = found.who;
  triage.kept = new Map(Object.entries(found.labels));
  shownAgain(null);
  document.documentElement.dataset.labels = String(triage.kept.size);
  return undefined;
}

function nextUnjudged(list) {
  const from = list.current && list.view[list.current.place] === list.current ? list.current.place + 1 : 0;
  const order = [...list.view.slice(from), ...list.view.slice(0, from)];
  const next = order.find(row => !judgedRow(row));
  if (next) list.select(next);
  else byId("say").textContent = "all rows of this list are judged";
}

function undo() {
  const last = triage.undo.pop();
  if (!last) {
    byId("say").textContent = "nothing to undo";
    return;
  }
  window.pulsarLabels.set(last.uid, last, true);
  shownAgain(last.uid);
  const list = [...lists.values()].find(one => one.all.some(row => nameOf(row) === last.uid));
  const row = list.all.find(one => nameOf(one) === last.uid);
  if (list.view[row.place] === row) list.select(row);
  byId("say").textContent = `${row.i}: ${last.label || "no label"} again`;
}

function note(list) {
  list.select(list.current, true);
  const place = document.querySelector("#sheet-labels input");
  place.focus();
  place.select();
}

async function besides(row) {
  const dialog = byId("triage-beside");
  const found = await asked(`beside?uid=${encodeURIComponent(nameOf(row))}`);
  const figures = found.rows.map(other => element("figure", {}, element("figcaption", {}, other.told),
    other.sheet ? picture({ s: other.sheet, z: [] }, { loading: "lazy", alt: `Plot sheet: ${other.told}` })
      : element("p", { className: "soft" }, "No sheet: it was not folded.")));
  const alone = found.rows.length > 1 ? []
    : [element("p", {}, "No other beam or night has a row of this period and DM.")];
  dialog.replaceChildren(element("h2", {}, row.i), ...alone, ...figures);
  dialog.showModal();
}

// The command that leaves out of a fold what is typed; who looks at it runs it.
async function cleaned(row) {
  const dialog = byId("triage-beside");
  const found = await asked(`cleaning?uid=${encodeURIComponent(nameOf(row))}`);
  const command = element("pre", {}), fields = (found.spans || []).map(([name, reach, value]) =>
    [name, reach, element("input", { type: "text", placeholder: "LO:HI LO:HI", value })]);
  const fill = () => {
    const words = fields.flatMap(([name, , input]) => (input.value.match(/\S+/g) || []).map(span => [name, span]));
    const wrong = words.find(([, span]) => !/^\d*\.?\d+:\d*\.?\d+$/.test(span));
    const zaps = words.map(([name, span]) => ` --zap-${name} ${span}`).join("");
    command.textContent = wrong ? `${wrong[1]}: expected two numbers, LO:HI`
      : zaps ? `${found.commands.join("\n")}${zaps} --out ${found.out}` : "";
  };
  const labels = fields.map(([name, reach, input]) => {
    input.addEventListener("input", fill);
    return element("label", {}, `Leave out ${name === "time" ? "times" : "frequencies"}, of ${reach} `, input);
  });
  fill();
  dialog.replaceChildren(element("h2", {}, row.i), ...labels, element("p", {}, found.told), command);
  dialog.showModal();
}

const MORE = {
  x: list => nextUnjudged(list),
  z: () => undo(),
  c: list => { if (list.current) note(list); },
  l: list => { if (list.current) cleaned(list.current).catch(error => tell(error.message)); },
  b: list => { if (list.current) besides(list.current).catch(error => tell(error.message)); },
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || byId("help").open) return;
  const list = lists.get(seen), beside = byId("triage-beside");
  if (event.target.matches("input:not([type=checkbox])")) {
    if (event.key === "Enter" && event.target.closest("#sheet-labels")) {
      event.target.blur();
      list.select(list.current);
      event.preventDefault();
    }
    // The dialog alone is closed.
    if (event.target.closest("dialog")) event.stopImmediatePropagation();
    return;
  }
  if (!list || list.id === "observations") return;
  if (beside.open && event.key === "b") beside.close();
  else if (!beside.open && MORE[event.key]) MORE[event.key](list);
  else if (list.current && /^[PIKNU]$/.test(event.key)) {
    const row = list.current;
    judge(row, { ...triage.kept.get(nameOf(row)), label: LABELS[event.key.toLowerCase()] });
    if (!beside.open) nextUnjudged(list);
  } else if (!beside.open || event.key === "Escape" || LABELS[event.key]) return;
  event.stopImmediatePropagation();
  event.preventDefault();
});

window.addEventListener("hashchange", () => setTimeout(progress));
window.addEventListener("focus", () => reload().catch(error => tell(error.message)));
window.addEventListener("DOMContentLoaded", () => {
  const help = [["x", "next row without a label of yours"], ["P I K N U", "judge, and on to the next without a label"],
    ["c", "note (comment)"], ["z", "undo"], ["l", "leave out times or frequencies of the fold: the command"], ["b", "beams and nights that show the same, beside each other"],
    ["/", "filter, also by label: label=pulsar, label=, -label:noise"]];
  const place = document.querySelector("#help .labels");
  place.after(...help.map(([keys, text]) => element("div", {}, element("dt", {}, ...keys.split(" ").flatMap(key =>
    [element("kbd", {}, key), " "])), element("dd", {}, text))));
  document.querySelector(".top .tools").prepend(element("output", { id: "triage-progress" }));
  const problem = element("p", { id: "triage-problem", className: "problem", hidden: true });
  problem.setAttribute("role", "alert");
  document.querySelector(".top").after(problem);
  document.body.append(element("dialog", { id: "triage-beside" }));
  reload().catch(error => tell(error.message));
});
