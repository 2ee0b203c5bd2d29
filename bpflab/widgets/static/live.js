// Events drawn while they come. Counts arrive in binary buffers; this draws them on a canvas.

const BUCKETS = 65;
const HEIGHT = 300;
const LEFT = 64, RIGHT = 12, TOP = 12, BOTTOM = 26;
const UNITS = {
  ns: [["ns", 1], ["us", 1e3], ["ms", 1e6], ["s", 1e9]],
  us: [["us", 1], ["ms", 1e3], ["s", 1e6]],
  ms: [["ms", 1], ["s", 1e3]],
  bytes: [["B", 1], ["KiB", 1024], ["MiB", 1048576], ["GiB", 1073741824]],
};

class Live {
  constructor(model, el) {
    this.model = model;
    this.about = model.get("_about");
    this.name = Math.random().toString(36).slice(2);
    this.colours = new Map();
    this.build(el);
    this.heard = (message, buffers) => {
      if (message.view === this.name) this.take(message, buffers);
    };
    this.ended = () => this.last();
    this.changed = () => this.show();
    model.on("msg:custom", this.heard);
    model.on("change:_last", this.ended);
    model.on("change:view", this.changed);
    this.size = new ResizeObserver(() => this.draw());
    this.size.observe(this.canvas);
    this.themes = new MutationObserver(() => this.draw());
    this.themes.observe(document.body, { attributes: true });
    this.seen = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      if (this.visible) this.want();
    });
    this.seen.observe(this.root);
    this.last();
    this.show();
  }

  build(el) {
    this.stop = h("button", { type: "button", class: "bl-stop", onclick: () => this.end() }, "■ Stop");
    this.tabs = this.about.views.map((view) => h("button", { type: "button", "aria-pressed": "false", "data-view": view, onclick: () => this.choose(view) }, view));
    this.state = h("span", { class: "bl-state", role: "status", "aria-live": "off" }, "waiting for events");
    this.canvas = h("canvas", { class: "bl-canvas", role: "img", "aria-label": this.about.title, tabindex: "0",
      onmousemove: (event) => this.point(event), onmouseleave: () => this.point(null), onkeydown: (event) => this.key(event) });
    this.tip = h("div", { class: "bl-tip", hidden: "" });
    this.legend = h("div", { class: "bm-bar bl-legend" });
    this.note = h("p", { class: "bm-note bl-note", hidden: "" });
    this.root = frame("live", this.about.title,
      h("div", { class: "bm-bar" }, h("h3", {}, this.about.title), h("span", { class: "bm-gap" }), ...(this.tabs.length > 1 ? this.tabs : []), this.stop),
      h("div", { class: "bl-line" }, this.state),
      h("div", { class: "bl-box" }, this.canvas, this.tip), this.legend, this.note);
    el.append(this.root);
  }

  // -- talking to the notebook's kernel

  want() {
    if (this.data?.meta.running === false) return;
    clearTimeout(this.quiet);
    this.model.send({ do: "want", view: this.name });
    this.quiet = setTimeout(() => this.root.classList.add("bl-quiet"), 4000);
  }

  take(meta, buffers) {
    this.root.classList.remove("bl-quiet");
    clearTimeout(this.quiet);
    this.data = unpacked(meta, buffers);
    requestAnimationFrame(() => {
      this.draw();
      if (this.visible) this.want();
    });
  }

  /** The picture of the end, which stays with the notebook. */
  last() {
    const meta = this.model.get("_last");
    if (!meta?.bins) return;
    clearTimeout(this.quiet);
    this.root.classList.remove("bl-quiet");
    this.data = unpacked(meta, [this.model.get("_rate"), this.model.get("_heat"), this.model.get("_totals"), this.model.get("_missing")]);
    this.draw();
  }

  end() {
    this.stop.disabled = true;
    this.model.send({ do: "stop" });
  }

  choose(view) {
    this.model.set("view", view);
    this.model.save_changes();
  }

  show() {
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", String(tab.dataset.view === this.model.get("view")));
    this.draw();
  }

  // -- drawing

  draw() {
    if (!this.data || !this.canvas.clientWidth) return;
    const { meta } = this.data;
    const view = this.model.get("view");
    const style = getComputedStyle(this.root);
    this.ink = Object.fromEntries(["text", "soft", "line", "back", "main", "bad"].map((name) => [name, style.getPropertyValue(`--bm-${name}`).trim()]));
    this.palette = Array.from({ length: 8 }, (_, n) => style.getPropertyValue(`--bl-${n}`).trim());
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
    if (this.canvas.height !== HEIGHT * ratio) this.canvas.height = HEIGHT * ratio;
    const g = this.canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, HEIGHT);
    g.font = `11px ${style.getPropertyValue("--jp-ui-font-family") || "system-ui, sans-serif"}`;
    this.box = { x: LEFT, y: TOP, w: width - LEFT - RIGHT, h: HEIGHT - TOP - BOTTOM };
    if (view === "histogram") this.histogram(g);
    else if (view === "heat map") this.heat(g);
    else this.rate(g);
    this.tell(meta, view);
    this.root.dataset.count = meta.count;
    this.root.dataset.drawn = view;
  }

  tell(meta, view) {
    const parts = [`${count(meta.count)} events`, `${count(Math.round(meta.per_second))} a second`, `${meta.seconds.toFixed(1)} s`];
    this.state.replaceChildren(parts.join(" · "), " · ", meta.lost === null ? "lost: not counted" : h("span", { class: meta.lost ? "bl-lost" : null }, `lost: ${count(meta.lost)}`), meta.ending ? ` · ${meta.ending}` : "");
    this.stop.hidden = !meta.running;
    const groups = this.about.by ? meta.groups : [];
    const legend = view === "rate" ? groups.map((name) => h("span", { class: "bl-group" }, h("i", { style: `background:${this.colour(name)}` }), name)) : [];
    if (meta.gaps.length && view !== "histogram") legend.push(h("span", { class: "bl-group" }, h("i", { class: "bl-gap" }), "lost"));
    this.legend.replaceChildren(...legend);
    const notes = [];
    if (view === "histogram" && meta.lost) notes.push(`${count(meta.lost)} lost events are in no bar`);
    if (meta.early && view !== "histogram") notes.push(`${count(meta.early)} events were in the buffer before: they are in the frame, not in the picture`);
    if (meta.dropped) notes.push(`the frame has the newest ${count(meta.count - meta.dropped)} events`);
    this.note.textContent = notes.join("; ");
    this.note.hidden = !notes.length;
    this.canvas.setAttribute("aria-label", `${this.about.title}, ${view}: ${this.state.textContent}`);
  }

  colour(name) {
    if (name === "(others)") return this.ink.soft;
    if (!this.colours.has(name)) this.colours.set(name, this.colours.size % 8);
    return this.palette[this.colours.get(name)];
  }

  x(seconds) {
    const { meta } = this.data;
    return this.box.x + ((seconds - meta.start) / (meta.width * meta.bins)) * this.box.w;
  }

  axes(g, most, ticks, labels) {
    const { box } = this;
    g.textBaseline = "middle";
    g.textAlign = "right";
    for (let n = 0; n <= ticks; n++) {
      const y = box.y + box.h - (n / ticks) * box.h;
      g.strokeStyle = this.ink.line;
      g.beginPath();
      g.moveTo(box.x, Math.round(y) + 0.5);
      g.lineTo(box.x + box.w, Math.round(y) + 0.5);
      g.stroke();
      g.fillStyle = this.ink.soft;
      g.fillText(labels((most * n) / ticks), box.x - 7, y);
    }
    this.times(g);
  }

  times(g) {
    const { box, data } = this;
    const span = data.meta.width * data.meta.bins;
    const step = nice(span / Math.max(2, box.w / 110));
    g.fillStyle = this.ink.soft;
    g.textAlign = "center";
    g.textBaseline = "top";
    for (let at = Math.ceil(data.meta.start / step) * step; at <= data.meta.start + span; at += step) {
      const text = `${+at.toFixed(3)} s`;
      g.fillText(text, Math.min(this.x(at), box.x + box.w - g.measureText(text).width / 2), box.y + box.h + 7);
    }
  }

  rate(g) {
    const { box, data } = this;
    const { meta, rate, missing } = data;
    const bins = meta.bins;
    const sums = Float64Array.from(missing);
    for (let n = 0; n < rate.length; n++) sums[n % bins] += rate[n];
    const most = nice(Math.max(1, sums.reduce((a, b) => Math.max(a, b), 0)) / meta.width, true);
    this.axes(g, most, 4, (value) => short(value));
    const high = new Float64Array(bins);
    const wide = box.w / bins;
    const bar = Math.max(wide - (wide > 4 ? 1 : 0), 0.6);
    const stack = (bin, value) => {
      const from = (high[bin] / most) * box.h;
      high[bin] += value / meta.width;
      const to = (high[bin] / most) * box.h;
      return [box.x + bin * wide, box.y + box.h - to, bar, to - from];
    };
    meta.groups.forEach((name, row) => {
      g.fillStyle = this.colour(name);
      for (let bin = 0; bin < bins; bin++) if (rate[row * bins + bin]) g.fillRect(...stack(bin, rate[row * bins + bin]));
    });
    this.gaps(g);
    // what is missing stands on what has come: as many as were lost, not as if there had been none
    for (let bin = 0; bin < bins; bin++) if (missing[bin]) this.hatch(g, ...stack(bin, missing[bin]), 0.85);
    g.save();
    g.translate(12, box.y + box.h / 2);
    g.rotate(-Math.PI / 2);
    g.textAlign = "center";
    g.fillStyle = this.ink.soft;
    g.fillText("events a second", 0, 0);
    g.restore();
  }

  hatch(g, x, y, w, height, strength) {
    const h = Math.max(2, height);
    g.save();
    g.beginPath();
    g.rect(x, y + height - h, w, h);
    g.clip();
    g.globalAlpha = strength / 5;
    g.fillStyle = this.ink.bad;
    g.fillRect(x, y + height - h, w, h);
    g.globalAlpha = strength;
    g.strokeStyle = this.ink.bad;
    g.beginPath();
    for (let at = Math.floor((x - h) / 6) * 6; at < x + w; at += 6) {
      g.moveTo(at, y + height);
      g.lineTo(at + h, y + height - h);
    }
    g.stroke();
    g.restore();
  }

  /** Stretches of time of which events are missing. */
  gaps(g, hatched = false) {
    const { box, data } = this;
    const { meta } = data;
    for (const [start, end, lost] of meta.gaps) {
      const x = Math.max(box.x, this.x(start)), w = Math.max(2, Math.min(box.x + box.w, this.x(end)) - x);
      if (hatched) this.hatch(g, x, box.y, w, box.h, 0.5);
      else {
        g.globalAlpha = 0.09;
        g.fillStyle = this.ink.bad;
        g.fillRect(x, box.y, w, box.h);
        g.globalAlpha = 1;
      }
      const text = `${short(lost)} lost`;
      const wide = g.measureText(text).width + 8;
      if (wide > w) continue;
      g.fillStyle = this.ink.back;
      g.fillRect(x + w / 2 - wide / 2, box.y + 4, wide, 16);
      g.fillStyle = this.ink.bad;
      g.textAlign = "center";
      g.textBaseline = "middle";
      g.fillText(text, x + w / 2, box.y + 12);
    }
  }

  /** Buckets from the first that holds something to the last. */
  range() {
    const { totals, meta } = this.data;
    let first = BUCKETS, last = -1;
    for (let n = 0; n < meta.groups.length * BUCKETS; n++) {
      if (!totals[n]) continue;
      first = Math.min(first, n % BUCKETS);
      last = Math.max(last, n % BUCKETS);
    }
    return last < 0 ? [0, 0] : [first, last];
  }

  label(bucket) {
    const { unit } = this.about;
    if (!bucket) return `0 ${unit}`;
    return scaled(2 ** (bucket - 1), unit);
  }

  histogram(g) {
    const { box, data } = this;
    const { meta, totals } = data;
    const [first, last] = this.range();
    const rows = last - first + 1;
    const groups = meta.groups.length || 1;
    const wide = box.w / groups;
    const high = Math.min(24, (box.h - 12) / rows);
    let most = 1;
    for (const value of totals) most = Math.max(most, value);
    g.textBaseline = "middle";
    this.bars = { first, last, wide, high };
    for (let row = 0; row < rows; row++) {
      if (high < 11 && row % 2) continue;
      g.fillStyle = this.ink.soft;
      g.textAlign = "right";
      g.fillText(this.label(first + row), box.x - 6, box.y + 14 + (row + 0.5) * high);
    }
    meta.groups.forEach((name, n) => {
      const x = box.x + n * wide;
      g.fillStyle = this.ink.text;
      g.textAlign = "left";
      if (this.about.by) g.fillText(fit(g, name, wide - 8), x + 2, box.y + 3);
      const room = wide - 14 - g.measureText(count(most)).width;
      for (let row = 0; row < rows; row++) {
        const value = totals[n * BUCKETS + first + row];
        if (!value) continue;
        const length = Math.max(1, (value / most) * room);
        const y = box.y + 14 + row * high;
        g.fillStyle = this.about.by ? this.colour(name) : this.ink.main;
        g.fillRect(x + 2, y + 1, length, Math.max(1, high - 2));
        if (high >= 11 && groups <= 4) {
          g.fillStyle = this.ink.text;
          g.fillText(count(value), x + length + 6, y + high / 2);
        }
      }
      g.strokeStyle = this.ink.line;
      g.beginPath();
      g.moveTo(Math.round(x) + 0.5, box.y + 12);
      g.lineTo(Math.round(x) + 0.5, box.y + 14 + rows * high);
      g.stroke();
    });
    g.fillStyle = this.ink.soft;
    g.textAlign = "left";
    g.fillText(`${this.about.value}, from ... to the next line; bars count events`, box.x, HEIGHT - 8);
  }

  heat(g) {
    const { box, data } = this;
    const { meta, heat } = data;
    const [first, last] = this.range();
    const rows = last - first + 1;
    const wide = box.w / meta.bins, high = Math.min(28, box.h / rows);
    let most = 1;
    for (const value of heat) most = Math.max(most, value);
    const bottom = box.y + box.h;
    this.bars = { first, last, high };
    g.textBaseline = "middle";
    g.textAlign = "right";
    for (let row = 0; row < rows; row++) {
      if (high < 11 && row % 2) continue;
      g.fillStyle = this.ink.soft;
      g.fillText(this.label(first + row), box.x - 6, bottom - (row + 0.5) * high);
    }
    g.fillStyle = this.ink.main;
    for (let row = 0; row < rows; row++) {
      for (let bin = 0; bin < meta.bins; bin++) {
        const value = heat[(first + row) * meta.bins + bin];
        if (!value) continue;
        g.globalAlpha = 0.12 + 0.88 * Math.sqrt(value / most);
        g.fillRect(box.x + bin * wide, bottom - (row + 1) * high, Math.ceil(wide), Math.max(1, high - 1));
      }
    }
    g.globalAlpha = 1;
    this.gaps(g, true);
    this.times(g);
  }

  // -- pointing

  point(event) {
    if (!event || !this.data) {
      this.tip.hidden = true;
      return;
    }
    const area = this.canvas.getBoundingClientRect();
    const text = this.under(event.clientX - area.left, event.clientY - area.top);
    this.tip.hidden = !text;
    if (!text) return;
    this.tip.textContent = text;
    this.tip.style.left = `${Math.min(event.clientX - area.left + 12, area.width - this.tip.offsetWidth - 4)}px`;
    this.tip.style.top = `${event.clientY - area.top + 14}px`;
  }

  under(x, y) {
    const { box, data } = this;
    const { meta } = data;
    const view = this.model.get("view");
    if (x < box.x || x > box.x + box.w) return "";
    if (view === "histogram") {
      const n = Math.floor((x - box.x) / this.bars.wide), row = Math.floor((y - box.y - 14) / this.bars.high);
      const bucket = this.bars.first + row;
      if (row < 0 || bucket > this.bars.last || n >= meta.groups.length) return "";
      return `${this.about.by ? `${meta.groups[n]}\n` : ""}${this.label(bucket)} to ${this.label(bucket + 1)}: ${count(data.totals[n * BUCKETS + bucket])}`;
    }
    const bin = Math.min(meta.bins - 1, Math.floor(((x - box.x) / box.w) * meta.bins));
    const from = meta.start + bin * meta.width;
    const gap = meta.gaps.find(([start, end]) => start < from + meta.width && end > from);
    const lines = [`${from.toFixed(2)} s`, ...(gap ? [`${count(gap[2])} lost from ${gap[0].toFixed(2)} s to ${gap[1].toFixed(2)} s`] : [])];
    if (view === "heat map") {
      const bucket = this.bars.first + Math.floor((box.y + box.h - y) / this.bars.high);
      if (bucket < this.bars.first || bucket > this.bars.last) return "";
      lines.push(`${this.label(bucket)} to ${this.label(bucket + 1)}: ${count(data.heat[bucket * meta.bins + bin])}`);
    } else {
      meta.groups.forEach((name, row) => {
        const value = data.rate[row * meta.bins + bin];
        if (value) lines.push(`${name}: ${count(Math.round(value / meta.width))} a second`);
      });
      if (data.missing[bin]) lines.push(`lost: ${count(Math.round(data.missing[bin] / meta.width))} a second`);
    }
    return lines.join("\n");
  }

  key(event) {
    const at = this.about.views.indexOf(this.model.get("view"));
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.choose(this.about.views[(at + step + this.about.views.length) % this.about.views.length]);
    } else if (event.key === "Escape" && this.data?.meta.running) {
      event.preventDefault();
      this.end();
    }
  }

  close() {
    clearTimeout(this.quiet);
    this.model.send({ do: "rest", view: this.name });
    for (const observer of [this.size, this.themes, this.seen]) observer.disconnect();
    this.model.off("msg:custom", this.heard);
    this.model.off("change:_last", this.ended);
    this.model.off("change:view", this.changed);
  }
}

function unpacked(meta, [rate, heat, totals, missing]) {
  return { meta, rate: words(rate, Uint32Array), heat: words(heat, Uint32Array), totals: words(totals, Float64Array), missing: words(missing, Uint32Array) };
}

/** Numbers of a buffer, which may begin at any byte. */
function words(view, kind) {
  return new kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

function count(value) {
  return value.toLocaleString("en");
}

function short(value) {
  for (const [name, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (value >= size) return `${+(value / size).toFixed(1)}${name}`;
  return String(+value.toFixed(1));
}

function scaled(value, unit) {
  const known = UNITS[unit];
  if (!known) return `${short(value)} ${unit}`;
  const [name, size] = known.findLast(([, size]) => value >= size) ?? known[0];
  return `${+(value / size).toPrecision(3)} ${name}`;
}

/** 1, 2 or 5 times a power of ten, not below a value; for the top of an axis also 4. */
function nice(value, top = false) {
  const ten = 10 ** Math.floor(Math.log10(value));
  return (top ? [1, 2, 4, 6, 8, 10] : [1, 2, 5, 10]).find((n) => n * ten >= value * 0.999) * ten;
}

function fit(g, text, room) {
  if (g.measureText(text).width <= room) return text;
  while (text && g.measureText(`${text}…`).width > room) text = text.slice(0, -1);
  return `${text}…`;
}

export default {
  render({ model, el, signal }) {
    const view = new Live(model, el);
    const close = () => view.close();
    signal?.addEventListener("abort", close);
    return signal ? undefined : close;
  },
};
