"use strict";
// A list of rows: filter, order, and a table of which only as much is made as is looked at.

const ROWS_AT_A_TIME = 120;
const ALSO = { p: "period", t: "time", flag: "rfi_flags", flags: "rfi_flags", found: "found_by", known: "known_source",
  s: "score", of: "source" };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// What a filter asks of a row; null where a condition makes no sense.
function parsedFilter(text, columns) {
  const tests = [];
  for (let word of text.match(/"[^"]*"|[^\s"]+(?:"[^"]*")?/g) || []) {
    const turned = word.length > 1 && word[0] === "-";
    if (turned) word = word.slice(1);
    const parts = /^([A-Za-z_./]+)(<=|>=|!=|=|<|>|:)(.*)$/.exec(word);
    const test = parts ? condition(parts[1].toLowerCase(), parts[2], parts[3].replaceAll('"', ""), columns)
      : holding(word.replaceAll('"', ""));
    if (!test) return null;
    tests.push(turned ? row => !test(row) : test);
  }
  return row => tests.every(test => test(row));
}

function holding(word) {
  const wanted = word.toLowerCase();
  return row => row.text.includes(wanted);
}

function condition(name, sign, value, columns) {
  if (name === "label" && (window.pulsarLabels || data.labels)) {
    const wanted = value.toLowerCase();
    return { ":": row => labelOf(row).includes(wanted), "=": row => labelOf(row) === wanted,
      "!=": row => labelOf(row) !== wanted }[sign] || null;
  }
  const key = ALSO[name] && columns.some(c => c.key === ALSO[name]) ? ALSO[name] : name;
  const plain = text => text.toLowerCase().replace(/[^a-z]/g, "");
  const at = columns.findIndex(c => c.key === key || plain(c.title) === plain(name));
  if (at < 0) return null;
  const wanted = value.toLowerCase();
  if (columns[at].text || value === "") {
    const told = row => (columns[at].text ? row.c[at] : row.c[at][0] === null ? "" : row.c[at][1]).toLowerCase();
    if (sign === ":") return row => told(row).includes(wanted);
    if (sign === "=") return row => told(row) === wanted;
    return sign === "!=" ? row => told(row) !== wanted : null;
  }
  const range = value.split("..").map(v => v.trim() === "" ? NaN : Number(v));
  if (range.length > 2 || range.every(Number.isNaN)) return null;
  const of = test => row => row.c[at][0] !== null && test(row.c[at][0]);
  if (range.length === 2) return of(x => !(x < range[0]) && !(x > range[1]));
  const [limit] = range;
  // Equal to the digits that were given.
  const digits = (value.split(".")[1] || "").length;
  const near = x => x === limit || Math.abs(x - limit) < 0.5 * 10 ** -digits;
  return { "<": of(x => x < limit), ">": of(x => x > limit), "<=": of(x => x <= limit), ">=": of(x => x >= limit),
    "=": of(near), ":": of(near), "!=": row => !of(near)(row) }[sign];
}

class List {
  constructor(section, table, open) {
    Object.assign(this, { section, id: table.id, columns: table.columns, open, all: table.rows, order: null });
    const names = new Set(this.all.map(row => row.i));
    this.children = new Map();
    this.all.forEach((row, number) => {
      row.number = number;
      row.text = [row.i, row.w, row.r, ...row.c.map(c => Array.isArray(c) ? "" : c)].join(" ").toLowerCase();
      row.belongs = row.o !== "" && names.has(row.o);
      if (row.belongs) this.children.set(row.o, [...(this.children.get(row.o) || []), row]);
    });
    this.find = selector => section.querySelector(selector);
    this.body = this.find("tbody");
    this.scroll = this.find(".scroll");
    this.input = this.find(".filter-text");
    this.current = null;
    this.changed = () => {};
    this.headings();
    this.input.addEventListener("input", () => this.refresh());
    const boxes = section.querySelectorAll(".bar [type=checkbox]");
    for (const box of boxes) box.addEventListener("change", () => this.refresh());
    this.find(".filter-clear").addEventListener("click", () => this.clear());
    this.tiles = this.find(".tiles-button");
    if (this.tiles) this.tiles.addEventListener("click", () => this.toggleTiles());
    this.scroll.addEventListener("scroll", () => this.fill(), { passive: true });
    this.body.addEventListener("click", event => {
      const line = event.target.closest("tr");
      if (line) this.select(this.view[line.place], true);
    });
    this.refresh();
  }

  headings() {
    const cells = this.columns.map((column, at) => {
      const button = element("button", { type: "button", title: column.about }, column.title);
      const cell = element("th", { scope: "col", className: this.look(column) }, button);
      if (column.unit) cell.append(element("small", {}, column.unit));
      button.addEventListener("click", () => this.sort(at));
      return cell;
    });
    if (window.pulsarLabels || data.labels) cells.push(element("th", { scope: "col", className: "text" }, "label"));
    this.find("thead").append(element("tr", {}, ...cells));
  }

  look(column) {
    return `${column.text ? "text " : ""}${column.key === "rfi_flags" ? "flags " : ""}keep${column.keep}`;
  }

  sort(at) {
    const text = this.columns[at].text;
    // What is highest is looked for first, except in ranks, periods and times.
    const falls = !text && !["rank", "period", "time", "obs", "tstart"].includes(this.columns[at].key);
    const down = this.order && this.order.at === at ? !this.order.down : falls;
    this.order = { at, down };
    [...this.find("thead tr").cells].forEach((cell, i) => {
      if (i === at) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    this.refresh();
  }

  compared(a, b) {
    const { at, down } = this.order, x = a.c[at], y = b.c[at];
    let sign;
    if (this.columns[at].text) {
      // Empty texts and unknown numbers stay last.
      if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
      sign = x < y ? -1 : x > y ? 1 : 0;
    } else {
      if ((x[0] === null) !== (y[0] === null)) return x[0] === null ? 1 : -1;
      sign = x[0] === null ? 0 : x[0] - y[0];
    }
    return (down ? -sign : sign) || a.number - b.number;
  }

  refresh() {
    const test = parsedFilter(this.input.value, this.columns);
    this.input.setAttribute("aria-invalid", String(!test));
    const checked = name => { const box = this.find(name); return box !== null && box.checked; };
    const clean = checked(".filter-clean"), every = checked(".filter-all");
    const flags = this.columns.findIndex(c => c.key === "rfi_flags");
    const flagged = row => flags >= 0 && row.c[flags] !== "";
    this.view = this.all.filter(row => (every || !row.belongs) && !(clean && flagged(row)) && (!test || test(row)));
    if (this.order) this.view.sort((a, b) => this.compared(a, b));
    this.view.forEach((row, place) => { row.place = place; });
    const listed = every ? this.all.length : this.all.filter(row => !row.belongs).length;
    this.find(".told").textContent = test ? `${this.view.length} of ${listed}` : "this filter is not understood";
    this.find(".none").hidden = this.view.length > 0;
    this.find("table").setAttribute("aria-rowcount", this.view.length + 1);
    this.body.replaceChildren();
    this.scroll.scrollTop = 0;
    this.made = 0;
    this.fill();
    this.changed();
  }

  clear() {
    this.input.value = "";
    for (const box of this.section.querySelectorAll(".bar [type=checkbox]")) box.checked = false;
    this.refresh();
  }

  // Makes rows until the table reaches a screen beyond what is seen, or as far as a row.
  fill(upto = -1) {
    const far = () => this.scroll.scrollTop + 2 * this.scroll.clientHeight + 400;
    while (this.made < this.view.length && (this.made <= upto || this.body.offsetHeight < far())) {
      const some = this.view.slice(this.made, this.made + ROWS_AT_A_TIME);
      this.body.append(...some.map((row, i) => this.line(row, this.made + i)));
      this.made += some.length;
    }
  }

  line(row, place) {
    const line = document.createElement("tr");
    line.place = place;
    line.setAttribute("aria-rowindex", place + 2);
    const flags = this.columns.findIndex(c => c.key === "rfi_flags");
    line.className = `${row.belongs ? "belongs" : ""} ${flags >= 0 && row.c[flags] !== "" ? "flagged" : ""}`.trim();
    if (row === this.current) line.setAttribute("aria-current", "true");
    this.columns.forEach((column, at) => {
      const cell = document.createElement("td"), told = column.text ? row.c[at] : row.c[at][1];
      cell.className = this.look(column);
      cell.dataset.title = column.title;
      if (column.key === "id") cell.append(element("button", { type: "button", className: "name" }, told));
      else cell.textContent = told;
      if (column.key === "rfi_flags" && told) cell.title = told;
      line.append(cell);
    });
    if (window.pulsarLabels || data.labels) line.append(element("td", { className: "text label" }, labelOf(row)));
    if (this.tiled()) line.append(element("td", { className: "tile" }, picture(row, { loading: "lazy", alt: "" })));
    return line;
  }

  // Rows as tiles: their sheets side by side, in the order and under the filter of the list.
  tiled() {
    return this.section.classList.contains("tiled");
  }

  toggleTiles() {
    if (!this.tiles) return;
    this.tiles.setAttribute("aria-pressed", String(this.section.classList.toggle("tiled")));
    this.refresh();
    if (this.current && this.view[this.current.place] === this.current) this.select(this.current);
  }

  // Rows from one to that below it: as many as there are tiles beside each other.
  across() {
    const below = this.tiled() && this.current ? [...this.body.rows].findIndex(line => line.offsetTop > this.body.rows[0].offsetTop) : 1;
    return Math.max(1, below);
  }

  lineOf(row) {
    return row && this.view[row.place] === row ? this.body.rows[row.place] : undefined;
  }

  select(row, show = false) {
    if (!row) return;
    const before = this.lineOf(this.current);
    if (before) before.removeAttribute("aria-current");
    this.current = row;
    if (this.view[row.place] === row) this.fill(row.place);
    const line = this.lineOf(row);
    if (line) {
      line.setAttribute("aria-current", "true");
      line.scrollIntoView({ block: "nearest" });
      const button = line.querySelector("button");
      if (button) button.focus({ preventScroll: true });
    }
    this.changed();
    this.open(this, row, show);
  }

  move(step) {
    const listed = this.current && this.view[this.current.place] === this.current;
    const here = listed ? this.current.place : step > 0 ? -1 : 0;
    this.select(this.view[Math.max(0, Math.min(this.view.length - 1, here + step))]);
  }
}
