"use strict";
// Rows of a list as points over period and DM, or time and DM: to point at, to choose, to draw a box for the filter.

const MARGIN = { left: 52, right: 12, top: 8, bottom: 30 };

// Round numbers on an axis, as [value, text].
function roundTicks(low, high, most, logarithmic) {
  if (logarithmic && high / low > 5) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const digit of high / low > 300 ? [1] : [1, 2, 5]) {
        const value = digit * 10 ** power;
        if (value >= low && value <= high) found.push([value, String(Number(value.toPrecision(3)))]);
      }
    }
    return found;
  }
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(m => m * power >= raw * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
    found.push([value, String(Number(value.toPrecision(6)))]);
  }
  return found;
}

class PointMap {
  constructor(list, across, label, logarithmic) {
    Object.assign(this, { list, across, label, logarithmic, box: null });
    this.canvas = list.find(".plane canvas");
    this.tip = list.find(".tip");
    this.points = list.all.filter(row => row.m[0] !== null && row.m[1] !== null && !(logarithmic && row.m[0] <= 0));
    // Of one DM, as in a dedispersed series, the strength is told instead.
    this.up = new Set(this.points.map(row => row.m[1])).size > 1 ? 1 : 2;
    this.points = this.points.filter(row => row.m[this.up] !== null);
    const ends = values => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    const [low, high] = ends(this.points.map(row => row.m[0]));
    const [dmLow, dmHigh] = ends(this.points.map(row => row.m[this.up]));
    const more = 0.02 * (high - low || 1), wide = logarithmic ? [low / 1.15, high * 1.15] : [low - more, high + more];
    const room = 0.06 * (dmHigh - dmLow || 1);
    this.x = wide;
    // The square root spreads small DMs, where most pulsars are.
    this.root = dmLow >= 0 && dmHigh > 0;
    this.y = this.root ? [0, dmHigh + room] : [dmLow - room, dmHigh + room];
    this.canvas.addEventListener("pointermove", event => this.pointed(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("pointerdown", event => this.pressed(event));
    this.canvas.addEventListener("pointerup", event => this.released(event));
    this.canvas.addEventListener("pointercancel", () => { this.box = null; this.draw(); });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    list.changed = () => this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  place(row) {
    const [low, high] = this.x, across = this.logarithmic ? Math.log(row.m[0] / low) / Math.log(high / low)
      : (row.m[0] - low) / (high - low);
    const part = (row.m[this.up] - this.y[0]) / (this.y[1] - this.y[0]);
    const up = this.root ? Math.sqrt(Math.max(part, 0)) : part;
    return [MARGIN.left + across * (this.width - MARGIN.left - MARGIN.right),
      this.height - MARGIN.bottom - up * (this.height - MARGIN.top - MARGIN.bottom)];
  }

  values(left, top) {
    const u = (left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    const v = Math.max(0, (this.height - MARGIN.bottom - top) / (this.height - MARGIN.top - MARGIN.bottom));
    const [low, high] = this.x;
    return [this.logarithmic ? low * (high / low) ** u : low + u * (high - low),
      this.y[0] + (this.root ? v * v : v) * (this.y[1] - this.y[0])];
  }

  size(row) {
    return Math.max(2, Math.min(13, 1.1 * Math.sqrt(Math.max(row.m[2] || 0, 1))));
  }

  draw() {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !this.points.length) return;
    const scale = window.devicePixelRatio || 1;
    Object.assign(this, { width, height });
    Object.assign(this.canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(name).trim();
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.axes(pen, colour);
    const flags = this.list.columns.findIndex(c => c.key === "rfi_flags");
    // What the filter leaves out stays faint; what belongs to another row is not shown unless it is listed.
    const seen = row => this.list.view[row.place] === row;
    for (const row of this.points) if (!seen(row) && !row.belongs) this.dot(pen, row, null, colour("--faint"));
    pen.globalAlpha = 0.8;
    for (const row of [...this.list.view].reverse()) {
      if (row.m[0] === null || row.m[this.up] === null) continue;
      // Flagged rows are hollow: told apart without colours, too.
      if (row.c[flags] !== "") this.dot(pen, row, null, colour("--flagged"));
      else this.dot(pen, row, colour("--point"), colour("--card"));
    }
    pen.globalAlpha = 1;
    if (this.list.current && this.points.includes(this.list.current)) {
      const [x, y] = this.place(this.list.current);
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 2;
      pen.beginPath();
      pen.arc(x, y, this.size(this.list.current) + 4, 0, 7);
      pen.moveTo(x, MARGIN.top);
      pen.lineTo(x, y - this.size(this.list.current) - 4);
      pen.stroke();
    }
    if (this.box) {
      pen.strokeStyle = colour("--accent");
      pen.lineWidth = 1;
      pen.strokeRect(this.box[0], this.box[1], this.box[2] - this.box[0], this.box[3] - this.box[1]);
    }
  }

  axes(pen, colour) {
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--soft");
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    const right = this.width - MARGIN.right, bottom = this.height - MARGIN.bottom;
    pen.beginPath();
    pen.textAlign = "center";
    for (const [value, told] of roundTicks(...this.x, Math.max(3, this.width / 110), this.logarithmic)) {
      const [x] = this.place({ m: [value, this.y[0], this.y[0]] });
      pen.moveTo(x, MARGIN.top);
      pen.lineTo(x, bottom);
      if (x < right - 30) pen.fillText(told, x, bottom + 14);
    }
    pen.textAlign = "right";
    const levels = roundTicks(...this.y, 4, false);
    // Between 0 and the first round number lies half of the axis, or more.
    if (this.root && levels.length > 1) {
      for (const value of [0.1 * levels[1][0], 0.3 * levels[1][0]]) {
        levels.push([value, String(Number(value.toPrecision(2)))]);
      }
    }
    for (const [value, told] of levels) {
      const [, y] = this.place({ m: [this.x[0], value, value] });
      pen.moveTo(MARGIN.left, y);
      pen.lineTo(right, y);
      pen.fillText(told, MARGIN.left - 5, y + 4);
    }
    pen.stroke();
    pen.fillText(this.label, right, this.height - 3);
    pen.save();
    pen.translate(11, MARGIN.top + (bottom - MARGIN.top) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(this.up === 1 ? "DM" : "S/N", 0, 0);
    pen.restore();
  }

  dot(pen, row, fill, line) {
    const [x, y] = this.place(row);
    pen.beginPath();
    pen.arc(x, y, this.size(row), 0, 7);
    pen.lineWidth = 1.2;
    if (fill) { pen.fillStyle = fill; pen.fill(); }
    pen.strokeStyle = line;
    pen.stroke();
  }

  near(event) {
    const [left, top] = [event.offsetX, event.offsetY];
    let best = null, least = 14;
    for (const row of this.list.view) {
      if (row.m[0] === null || row.m[this.up] === null) continue;
      const [x, y] = this.place(row), far = Math.hypot(x - left, y - top) - 0.5 * this.size(row);
      if (far < least) [best, least] = [row, far];
    }
    return best;
  }

  pointed(event) {
    if (this.width === undefined) return;
    if (this.box) {
      [this.box[2], this.box[3]] = [event.offsetX, event.offsetY];
      this.draw();
      return;
    }
    const row = this.near(event);
    this.tip.hidden = !row;
    this.canvas.style.cursor = row ? "pointer" : "crosshair";
    if (!row) return;
    this.tip.textContent = toldOf(row);
    const left = event.offsetX + 14, room = this.width - this.tip.offsetWidth - 4;
    Object.assign(this.tip.style, { left: `${Math.max(4, Math.min(left, room))}px`, top: `${event.offsetY + 12}px` });
  }

  pressed(event) {
    if (event.button || event.pointerType === "touch") return;
    this.canvas.setPointerCapture(event.pointerId);
    this.box = [event.offsetX, event.offsetY, event.offsetX, event.offsetY];
  }

  released(event) {
    const [x0, y0] = this.box || [event.offsetX, event.offsetY], [x1, y1] = [event.offsetX, event.offsetY];
    this.box = null;
    if (Math.hypot(x1 - x0, y1 - y0) < 6) {
      const row = this.near(event);
      if (row) this.list.select(row, true);
      else this.draw();
      return;
    }
    const [low, bottom] = this.values(Math.min(x0, x1), Math.max(y0, y1));
    const [high, top] = this.values(Math.max(x0, x1), Math.min(y0, y1));
    const up = this.up === 1 ? "dm" : "snr";
    const kept = this.list.input.value.replace(new RegExp(`(^| )(${this.across}|${up})=\\S*`, "g"), "").trim();
    const digits = value => Number(value.toPrecision(5));
    const span = (name, from, to) => `${name}=${digits(from)}..${digits(to)}`;
    this.list.input.value = `${kept} ${span(this.across, low, high)} ${span(up, bottom, top)}`.trim();
    this.list.refresh();
  }
}
