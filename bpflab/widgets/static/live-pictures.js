// What a live view draws on its canvas, from counts in binary buffers: rates, histograms, heat maps, and what was lost.

const BUCKETS = 65;
const HEIGHT = 300;
const LEFT = 64, RIGHT = 12, TOP = 12, BOTTOM = 26;
const UNITS = {
  ns: [["ns", 1], ["us", 1e3], ["ms", 1e6], ["s", 1e9]],
  us: [["us", 1], ["ms", 1e3], ["s", 1e6]],
  ms: [["ms", 1], ["s", 1e3]],
  bytes: [["B", 1], ["KiB", 1024], ["MiB", 1048576], ["GiB", 1073741824]],
};

/** The pictures; `Live` has `data`, `about`, `model`, `box`, `ink` and `palette` for them. */
class Pictures {
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
    const { unit, step } = this.about;
    if (step) return scaled(bucket * step, unit);
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
