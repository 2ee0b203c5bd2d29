// The pipeline view: panes side by side, whose rows know their source lines.

const FACTS = ["hook", "maps"];

class Pipeline {
  constructor(model, el) {
    this.model = model;
    this.ways = model.get("_ways");
    const { programs } = this.ways;
    this.program = h("select", { "aria-label": "program", onchange: () => this.build(Number(this.program.value)) });
    this.program.append(...programs.map((program, n) => h("option", { value: n }, program.name)));
    this.said = h("span", { class: "bm-note", role: "status", "aria-live": "polite" });
    this.panes = h("div", { class: "bp-panes" });
    this.root = frame(
      "pipeline",
      `pipeline of ${this.ways.name}`,
      h("div", { class: "bm-bar" }, h("h3", {}, this.ways.name), programs.length > 1 ? this.program : h("span", { class: "bm-badge" }, programs[0].name), this.said),
      this.ways.refused ? h("p", { class: "bm-note bp-refused" }, this.ways.refused) : null,
      this.panes,
    );
    el.append(this.root);
    this.moved = () => this.light();
    model.on("change:line", this.moved);
    this.build(0);
    // a line that is lit from the start can be scrolled to once there is a page to scroll
    this.watch = new ResizeObserver(() => {
      this.watch.disconnect();
      this.light();
    });
    this.watch.observe(this.root);
  }

  build(n) {
    this.rows = []; // {element, lines, box}
    const source = this.pane({ title: "source", note: "click a line", rows: this.ways.source });
    const stages = this.ways.programs[n].stages.map((stage) => this.pane(stage));
    this.panes.replaceChildren(source, ...stages);
    // a source line that became nothing is no button
    const used = new Set(this.rows.filter((row) => row.title !== "source").flatMap((row) => row.lines));
    for (const row of this.rows) {
      if (!row.lines.some((line) => used.has(line))) continue;
      row.element.classList.add("bm-click");
      row.element.setAttribute("role", "button");
      clickable(row.element, () => this.choose(row));
    }
    this.light();
  }

  pane({ title, note, rows }) {
    const facts = FACTS.includes(title);
    const list = h("ol", { class: facts ? "bp-facts" : "bm-codelines", "aria-label": title });
    const box = h("div", { class: "bm-scroll" }, list);
    for (const [place, text, lines, kind] of rows) {
      const shape = kind === "title" ? "bp-title" : kind === "src" ? "bp-quote" : null;
      const element = h("li", { class: shape }, place || (!facts && title !== "verifier") ? h("span", { class: "bm-n" }, place) : null, h("span", {}, text));
      list.append(element);
      this.rows.push({ element, lines, box, title });
    }
    const size = rows.length ? (facts ? " bp-small" : "") : " bp-none";
    return h("section", { class: `bp-pane${size}`, "data-stage": title }, h("h4", {}, title), h("p", { class: "bm-note" }, note), rows.length ? box : null);
  }

  choose(row) {
    const line = row.lines.includes(this.model.get("line")) && row.title !== "source" && row.lines.length > 1 ? row.lines[(row.lines.indexOf(this.model.get("line")) + 1) % row.lines.length] : row.lines[0];
    this.kept = row.box; // the pane that was clicked does not move
    this.model.set("line", line === this.model.get("line") ? 0 : line);
    this.model.save_changes();
  }

  light() {
    const line = this.model.get("line");
    const counts = new Map();
    const seen = new Set();
    for (const row of this.rows) {
      const lit = line > 0 && row.lines.includes(line);
      row.element.classList.toggle("bm-lit", lit);
      if (row.element.hasAttribute("role")) row.element.setAttribute("aria-pressed", lit);
      if (!lit) continue;
      counts.set(row.title, (counts.get(row.title) ?? 0) + 1);
      if (!seen.has(row.box) && row.box !== this.kept) reveal(row.box, row.element);
      seen.add(row.box);
    }
    this.kept = null;
    const parts = [...counts].filter(([title]) => title !== "source").map(([title, count]) => `${count} in ${title}`);
    this.said.textContent = line ? `line ${line}: ${parts.join(", ") || "became nothing"}` : "";
  }

  close() {
    this.watch.disconnect();
    this.model.off("change:line", this.moved);
  }
}

export default {
  render({ model, el, signal }) {
    const view = new Pipeline(model, el);
    const close = () => view.close();
    signal?.addEventListener("abort", close);
    return signal ? undefined : close;
  },
};
