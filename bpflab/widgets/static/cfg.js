// The control-flow graph. Places and routes come with the model; this draws them and answers clicks.

const SVG = "http://www.w3.org/2000/svg";
const PAD = 8;
const LINE = 16;
const WIDEST = 62;

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

class ControlFlow {
  constructor(model, el) {
    this.graph = model.get("_graph");
    this.mode = this.graph.mode;
    this.chosen = null;
    this.tip = `tip-${Math.random().toString(36).slice(2)}`; // an id of the page, which may hold several graphs
    this.modes = ["source", "instructions"].map((mode) =>
      h("button", { type: "button", onclick: () => this.show(mode) }, mode === "source" ? "Source" : "Instructions"),
    );
    this.fit = h("button", { type: "button", "aria-pressed": "false", onclick: () => this.toggleFit() }, "Fit");
    this.area = h("div", { class: "bm-scroll" });
    this.detail = h("ol", { class: "bm-codelines", "aria-label": "instructions of the block" });
    this.detailBox = h("div", { class: "bm-scroll bc-detail", hidden: "" }, this.detail);
    const legend = h("span", { class: "bc-legend" }, h("b", { class: "bc-taken" }, "— condition holds"), h("b", { class: "bc-else" }, "— it does not"));
    const { blocks, edges } = this.graph;
    this.root = frame(
      "cfg",
      `control-flow graph of ${this.graph.title}`,
      h("div", { class: "bm-bar" }, h("h3", {}, this.graph.title), h("span", { class: "bm-badge" }, `${blocks.length} blocks, ${edges.length} edges`), legend, h("span", { class: "bm-gap" }), ...(this.graph.source ? this.modes : []), this.fit),
      this.area,
      this.detailBox,
    );
    el.append(this.root);
    this.show(this.mode);
  }

  show(mode) {
    this.mode = mode;
    this.modes.forEach((button) => button.setAttribute("aria-pressed", button.textContent.toLowerCase() === mode));
    const drawing = this.graph.drawings[mode];
    const { width, height } = drawing;
    this.svg = s("svg", { viewBox: `-10 -10 ${width + 20} ${height + 20}`, role: "group", "aria-label": "blocks and edges" });
    const tips = ["taken", "else", "next"].map((kind) => s("marker", { id: `${this.tip}-${kind}`, class: `bc-edge bc-${kind}`, viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" }, s("path", { class: "bc-tip", d: "M0 0L8 4L0 8z" })));
    this.svg.append(s("defs", {}, ...tips));
    this.edges = this.graph.edges.map(([from, to, kind], n) => {
      const edge = s("g", { class: `bc-edge bc-${kind}`, "data-from": from, "data-to": to }, s("path", { d: drawing.routes[n], "marker-end": `url(#${this.tip}-${kind})` }));
      this.svg.append(edge);
      return edge;
    });
    this.blocks = this.graph.blocks.map((about, n) => this.block(about, n, drawing));
    this.svg.append(...this.blocks);
    this.area.replaceChildren(this.svg);
    this.scale();
    this.choose(this.chosen, false);
  }

  block(about, n, drawing) {
    const [x, y, w, height] = drawing.boxes[n];
    const texts = drawing.lines[n].map(([kind, text], k) => {
      const line = s("text", { class: `bc-${kind}`, x: x + PAD, y: y + PAD + 11 + k * LINE });
      line.textContent = text.length <= WIDEST ? text : text.slice(0, WIDEST - 1) + "…";
      if (text.length > WIDEST) line.append(Object.assign(s("title"), { textContent: text }));
      return line;
    });
    const group = s("g", { class: "bc-block", role: "button", "aria-label": about.label, "data-start": about.start }, s("rect", { x, y, width: w, height, rx: 4 }), ...texts);
    clickable(group, () => this.choose(this.chosen === n ? null : n));
    return group;
  }

  /** Lights the blocks that share a source line with the chosen one, and its edges. */
  choose(chosen, scroll = true) {
    this.chosen = chosen;
    const about = chosen === null ? null : this.graph.blocks[chosen];
    this.blocks.forEach((block, n) => {
      block.setAttribute("aria-pressed", n === chosen);
      const shares = about && n !== chosen && this.graph.blocks[n].lines.some((line) => about.lines.includes(line));
      block.classList.toggle("bm-lit", Boolean(shares));
    });
    this.edges.forEach((edge) => edge.classList.toggle("bc-on", chosen !== null && [edge.dataset.from, edge.dataset.to].includes(String(chosen))));
    this.detailBox.hidden = !about;
    if (!about) return;
    const rows = [];
    let before = "";
    for (const [pc, text, source] of about.rows) {
      if (source && source !== before) rows.push(h("li", {}, h("span", { class: "bm-src" }, source)));
      before = source || before;
      rows.push(h("li", {}, h("span", { class: "bm-n" }, String(pc)), h("span", {}, text)));
    }
    this.detail.replaceChildren(...rows);
    if (scroll) reveal(this.area, this.blocks[chosen]);
  }

  toggleFit() {
    this.fit.setAttribute("aria-pressed", this.fit.getAttribute("aria-pressed") !== "true");
    this.scale();
  }

  scale() {
    const { width, height } = this.graph.drawings[this.mode];
    const fits = this.fit.getAttribute("aria-pressed") === "true";
    const factor = fits ? Math.min(1, (this.area.clientWidth - 4) / (width + 20), 620 / (height + 20)) : 1;
    this.svg.setAttribute("width", (width + 20) * factor);
    this.svg.setAttribute("height", (height + 20) * factor);
  }
}

export default {
  render({ model, el }) {
    new ControlFlow(model, el);
  },
};
