// A flame graph on a canvas: only what is wide enough to be seen is drawn, however many stacks there are.

const ROW = 18;
const TALLEST = 560; // pixels; what is higher scrolls
const LEAST = 0.4; // pixels of a box that is drawn
const FONT = "12px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const MATCH = "#d96bff";
// hue and saturation by kind: process, user, kernel, script, unknown
const HUES = [[215, 38], [42, 85], [22, 75], [140, 45], [0, 0]];
const KINDS = ["thread", "user code", "kernel", "interpreted or compiled while running", "no symbol"];

const plain = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

class FlameGraph {
  constructor(model, el) {
    this.model = model;
    this.about = { ...model.get("_about") };
    for (const part of ["names", "kinds", "files"]) this.about[part] = JSON.parse(this.about[part]);
    this.tree = new CallTree(this.about, model.get("_nodes"));
    this.zoomed = -1;
    this.chosen = -1;
    this.hits = null;
    this.icicle = false;
    this.colours = this.about.names.map((name, n) => this.colour(name, this.about.kinds[n]));
    this.build(el);
    this.listen();
    this.resize();
  }

  build(el) {
    const { title, unit, notes, difference } = this.about;
    this.search = h("input", { type: "search", placeholder: "search (regular expression)", "aria-label": "search functions", class: "bf-search", spellcheck: "false" });
    this.share = h("output", { class: "bm-badge bf-share", hidden: "" });
    this.out = h("button", { type: "button", disabled: "" }, "Zoom out");
    this.turn = h("button", { type: "button", "aria-pressed": "false" }, "Icicle");
    this.widths = h("button", { type: "button", "aria-pressed": "false", title: "widths as they were before" }, "Before");
    const file = (kind, label, what) => h("button", { type: "button", title: what, onclick: () => this.model.send(kind) }, label);
    this.canvas = h("canvas", { class: "bf-canvas", tabindex: "0", role: "img", "aria-label": `flame graph of ${title}; arrow keys walk, Enter zooms, Escape zooms out` });
    this.area = h("div", { class: "bm-scroll bf-area" }, this.canvas);
    this.tip = h("div", { class: "bf-tip", hidden: "" });
    this.said = h("p", { class: "bm-note bf-said", "aria-live": "polite" });
    const legend = difference
      ? [h("span", { class: "bf-key bf-more" }, "larger share than before"), h("span", { class: "bf-key bf-less" }, "smaller")]
      : [...new Set(this.about.kinds)].sort().map((kind) => h("span", { class: `bf-key bf-kind${kind}` }, KINDS[kind]));
    this.root = frame(
      "flame",
      `flame graph of ${title}`,
      h("div", { class: "bm-bar" }, h("h3", {}, title), h("span", { class: "bm-badge" }, `${Math.round(this.tree.whole).toLocaleString("en")} ${unit}`), h("span", { class: "bm-gap" }), this.search, this.share),
      h("div", { class: "bm-bar bf-second" }, h("span", { class: "bf-legend" }, ...legend), h("span", { class: "bm-gap" }), this.out, this.turn, difference ? this.widths : null, file("svg", "SVG", "save as a picture"), file("speedscope", "speedscope", "save for speedscope.app")),
      this.area,
      this.said,
      notes.length ? h("ul", { class: "bf-notes" }, ...notes.map((note) => h("li", {}, note))) : null,
      this.tip,
    );
    el.append(this.root);
  }

  listen() {
    this.search.addEventListener("input", () => this.find(this.search.value));
    this.out.addEventListener("click", () => this.zoom(-1));
    this.turn.addEventListener("click", () => {
      this.icicle = !this.icicle;
      this.turn.setAttribute("aria-pressed", this.icicle);
      this.resize();
    });
    this.widths.addEventListener("click", () => {
      const old = this.widths.getAttribute("aria-pressed") !== "true";
      this.widths.setAttribute("aria-pressed", old);
      this.tree.measure(old ? this.tree.before : this.tree.total);
      this.zoomed = -1;
      this.find(this.search.value);
      this.resize();
    });
    this.canvas.addEventListener("mousemove", (event) => this.hover(event));
    this.canvas.addEventListener("mouseleave", () => {
      this.tip.hidden = true;
      this.point(-1);
    });
    this.canvas.addEventListener("click", (event) => {
      const node = this.under(event);
      if (node >= 0) this.zoom(node === this.zoomed ? this.tree.parent[node] : node);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      if (event.target === this.search && this.search.value) {
        this.search.value = "";
        this.find("");
      } else this.zoom(-1);
      event.preventDefault();
    });
    this.model.on("msg:custom", (file) => {
      const link = h("a", { href: URL.createObjectURL(new Blob([file.text], { type: file.type })), download: file.name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    this.observer = new ResizeObserver(() => {
      if (this.area.clientWidth !== this.wide) this.resize();
    });
    this.observer.observe(this.area);
  }

  colour(name, kind) {
    const [hue, full] = HUES[kind];
    let sum = 0;
    for (let i = 0; i < name.length; i++) sum += name.charCodeAt(i);
    return `hsl(${hue + ((sum % 17) % 9) - 4}, ${full}%, ${72 + ((sum % 17) % 8)}%)`;
  }

  fill(node) {
    if (this.hits && this.hits[this.tree.name[node]]) return MATCH;
    if (!this.tree.change) return this.colours[this.tree.name[node]];
    const change = this.tree.change[node];
    if (Math.abs(change) < 0.005) return "hsl(0, 0%, 88%)";
    return `hsl(${change > 0 ? 4 : 212}, 80%, ${Math.round(90 - 30 * Math.min(Math.abs(change), 1))}%)`;
  }

  /** The part of all that is seen: where it begins and how wide it is. */
  view() {
    const node = this.zoomed;
    return node < 0 ? [0, this.tree.whole] : [this.tree.left[node], this.tree.width[node]];
  }

  resize() {
    this.wide = this.area.clientWidth;
    if (!this.wide) return;
    const [, span] = this.view();
    this.deep = this.tree.deepest(this.zoomed, (span / this.wide) * LEAST);
    this.high = Math.max((this.deep + 1) * ROW, 3 * ROW);
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.wide * ratio);
    this.canvas.height = Math.round(this.high * ratio);
    this.canvas.style.width = `${this.wide}px`;
    this.canvas.style.height = `${this.high}px`;
    this.area.style.height = `${Math.min(this.high, TALLEST) + 2}px`;
    this.area.scrollTop = this.icicle ? 0 : this.high;
    this.draw();
  }

  top(level) {
    return this.icicle ? level * ROW : this.high - (level + 1) * ROW;
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    const ratio = this.canvas.width / this.wide;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.wide, this.high);
    pen.font = FONT;
    pen.textBaseline = "middle";
    this.letter ??= pen.measureText("mmmmmmmmmm").width / 10;
    const { tree } = this;
    const [from, span] = this.view();
    const scale = this.wide / span;
    let drawn = 0;
    const above = this.zoomed < 0 ? -1 : tree.depth[this.zoomed];
    for (let level = 0; level <= this.deep; level++) {
      const y = this.top(level);
      let last = -1;
      for (let i = tree.from(level, from); i < tree.levels[level][1] && tree.left[i] < from + span; i++) {
        const x = level <= above ? 0 : (tree.left[i] - from) * scale;
        const wide = level <= above ? this.wide : tree.width[i] * scale;
        if (wide < LEAST || x + wide < last + 0.5) continue;
        last = x + wide;
        this.box(pen, i, x, y, wide, level < above);
        drawn++;
      }
    }
    if (this.chosen >= 0 && tree.depth[this.chosen] <= this.deep) {
      const level = tree.depth[this.chosen];
      const x = level <= above ? 0 : (tree.left[this.chosen] - from) * scale;
      const wide = level <= above ? this.wide : tree.width[this.chosen] * scale;
      pen.strokeStyle = getComputedStyle(this.root).getPropertyValue("--bm-text");
      pen.lineWidth = 2;
      pen.strokeRect(x + 1, this.top(level) + 1, Math.max(wide - 2, 1), ROW - 3);
    }
    this.out.disabled = this.zoomed < 0;
    Object.assign(this.root.dataset, { drawn, boxes: tree.size, zoomed: this.zoomed < 0 ? "" : this.about.names[tree.name[this.zoomed]] });
  }

  box(pen, node, x, y, wide, faded) {
    pen.globalAlpha = faded ? 0.55 : 1;
    pen.fillStyle = this.fill(node);
    pen.fillRect(x, y, Math.max(wide - (wide > 3 ? 1 : 0), 0.5), ROW - 1);
    const room = Math.floor((wide - 7) / this.letter);
    if (room >= 2) {
      const name = this.about.names[this.tree.name[node]];
      pen.fillStyle = "#1a1a1a";
      pen.fillText(name.length <= room ? name : `${name.slice(0, room - 1)}…`, x + 3, y + ROW / 2);
    }
    pen.globalAlpha = 1;
  }

  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const y = event.clientY - box.top;
    const level = Math.floor((this.icicle ? y : this.high - y) / ROW);
    const [from, span] = this.view();
    const above = this.zoomed < 0 ? -1 : this.tree.depth[this.zoomed];
    const x = level <= above ? from : from + ((event.clientX - box.left) / this.wide) * span;
    if (level > this.deep) return -1;
    return this.tree.at(level, x);
  }

  hover(event) {
    const node = this.under(event);
    if (node !== this.chosen) this.point(node);
    this.tip.hidden = node < 0;
    if (node < 0) return;
    this.tip.textContent = this.describe(node);
    const box = this.root.getBoundingClientRect();
    const x = event.clientX - box.left;
    this.tip.style.left = `${Math.max(4, Math.min(x + 12, box.width - this.tip.offsetWidth - 6))}px`;
    this.tip.style.top = `${event.clientY - box.top + 18}px`;
  }

  point(node) {
    this.chosen = node;
    this.said.textContent = node < 0 ? "" : this.describe(node);
    this.draw();
  }

  describe(node) {
    const { tree, about } = this;
    const name = about.names[tree.name[node]];
    const file = about.files[tree.name[node]];
    const number = (value) => Math.round(value).toLocaleString("en");
    const share = (value, whole) => `${((100 * value) / (whole || 1)).toFixed(2)} %`;
    const now = `${number(tree.total[node])} ${about.unit}, ${share(tree.total[node], tree.wholeOf(tree.total))} of all; ${number(tree.own[node])} in itself`;
    const parts = [file && file !== name ? `${name} (${file})` : name, now];
    if (tree.before) parts.push(`before ${share(tree.before[node], tree.wholeOf(tree.before))}`);
    else if (tree.parent[node] >= 0) parts.push(`${share(tree.total[node], tree.total[tree.parent[node]])} of its caller`);
    return parts.join(" · ");
  }

  zoom(node) {
    this.zoomed = node;
    this.tip.hidden = true;
    this.resize();
  }

  find(text) {
    let pattern = null;
    this.search.classList.remove("bf-plain");
    if (text) {
      try {
        pattern = new RegExp(text, "i");
      } catch {
        pattern = new RegExp(plain(text), "i"); // "operator[]", half typed
        this.search.classList.add("bf-plain");
      }
    }
    this.hits = pattern && Uint8Array.from(this.about.names, (name) => pattern.test(name));
    this.share.hidden = !pattern;
    if (pattern) this.share.textContent = `matched ${(100 * this.tree.matched(this.hits)).toFixed(1)} %`;
    this.draw();
  }

  key(event) {
    const { tree } = this;
    const up = this.icicle ? "ArrowDown" : "ArrowUp";
    const down = this.icicle ? "ArrowUp" : "ArrowDown";
    let node = this.chosen;
    if (["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"].includes(event.key)) {
      if (node < 0) node = this.zoomed < 0 ? 0 : this.zoomed;
      else if (event.key === up) node = this.widest(node);
      else if (event.key === down) node = tree.parent[node] < 0 ? node : tree.parent[node];
      else {
        const side = node + (event.key === "ArrowLeft" ? -1 : 1);
        if (side >= 0 && side < tree.size && tree.depth[side] === tree.depth[node]) node = side;
      }
      this.point(node);
      const y = this.top(tree.depth[node]);
      if (y < this.area.scrollTop || y + ROW > this.area.scrollTop + this.area.clientHeight) this.area.scrollTop = y - this.area.clientHeight / 2;
    } else if ((event.key === "Enter" || event.key === " ") && node >= 0) this.zoom(node === this.zoomed ? tree.parent[node] : node);
    else if (event.key === "/") this.search.focus();
    else return;
    event.preventDefault();
  }

  widest(node) {
    let best = node;
    for (let i = this.tree.firstChild[node]; i >= 0 && i <= this.tree.lastChild[node]; i++) if (best === node || this.tree.width[i] > this.tree.width[best]) best = i;
    return best;
  }
}

export default {
  render({ model, el }) {
    const graph = new FlameGraph(model, el);
    return () => graph.observer.disconnect();
  },
};
