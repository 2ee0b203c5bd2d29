// The stepper: a finished run, walked forward and back. Everything is in the model, so it works without a kernel.

const NS = "http://www.w3.org/2000/svg";

class Stepper {
  constructor(model, el) {
    this.model = model;
    this.run = model.get("_run");
    this.build(el);
    this.moved = () => this.draw();
    model.on("change:position", this.moved);
    this.watch = new ResizeObserver(() => {
      this.root.classList.toggle("bm-narrow", this.root.clientWidth < 720);
      this.drawArrow();
    });
    this.watch.observe(this.root);
    this.draw();
  }

  get position() {
    return Math.max(0, Math.min(this.run.steps.length, this.model.get("position")));
  }

  go(position) {
    this.model.set("position", Math.max(0, Math.min(this.run.steps.length, position)));
    this.model.save_changes();
  }

  build(el) {
    const { run } = this;
    const button = (text, label, action) => h("button", { type: "button", "aria-label": label, title: label, onclick: action }, text);
    this.buttons = [
      button("|◀", "to the start", () => this.go(0)),
      button("◀ Back", "one instruction back", () => this.go(this.position - 1)),
      button("Step ▶", "one instruction forward", () => this.go(this.position + 1)),
      button("▶|", "to the end", () => this.go(run.steps.length)),
    ];
    this.slider = h("input", { type: "range", min: 0, max: run.steps.length, "aria-label": "position in the run", oninput: () => this.go(Number(this.slider.value)) });
    this.where = h("span", { class: "bm-where" });
    this.said = h("div", { class: "bm-said", role: "status", "aria-live": "polite" });
    this.list = h("ol", { class: "bm-codelines", "aria-label": "program" });
    this.rows = new Map();
    const reached = new Set(run.steps.map((step) => step[0]));
    for (const [pc, text, line, source, name] of run.rows) {
      if (name) this.list.append(h("li", { class: "bm-src" }, `${name}:`));
      if (source) this.list.append(h("li", { class: "bm-src", title: `line ${line}` }, source));
      const row = h("li", { "data-pc": pc, title: reached.has(pc) ? "run to here" : "this run does not come here" }, h("span", { class: "bm-n" }, String(pc)), h("span", {}, text));
      if (reached.has(pc)) {
        row.classList.add("bm-click");
        row.setAttribute("role", "button");
        row.setAttribute("aria-label", `run to ${pc}: ${text}`);
        clickable(row, () => this.runTo(pc));
      } else row.classList.add("bm-never");
      this.rows.set(pc, row);
      this.list.append(row);
    }
    this.arrow = document.createElementNS(NS, "svg");
    this.arrow.setAttribute("class", "bm-arrow");
    this.arrow.setAttribute("aria-hidden", "true");
    this.program = h("div", { class: "bm-scroll bm-program" }, this.list, this.arrow);
    this.regs = h("dl", { class: "bm-regs" });
    this.memory = h("div", {});
    const state = h("div", { class: "bm-state" }, h("div", {}, h("h4", {}, "Registers"), this.regs), this.memory);
    const verdict = h("span", { class: "bm-badge bm-verdict" }, run.verdict);
    const kernel = h("span", { class: `bm-badge bm-kernel${run.agrees === true ? " bm-good" : run.agrees === false ? " bm-bad" : ""}`, title: run.note }, run.kernel);
    this.root = frame(
      "stepper",
      `stepper of ${run.title}`,
      h("div", { class: "bm-bar" }, h("h3", {}, run.title), h("span", { class: "bm-badge" }, run.kind), h("span", { class: "bm-gap" }), verdict, kernel),
      run.stopped ? h("p", { class: "bm-note bm-stopped" }, run.stopped) : null,
      h("div", { class: "bm-bar bm-controls" }, ...this.buttons, this.slider, this.where),
      this.said,
      h("div", { class: "bm-panes" }, this.program, state),
    );
    this.root.addEventListener("keydown", (event) => this.key(event));
    el.append(this.root);
  }

  key(event) {
    if (event.target === this.slider || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowRight: this.position + 1, ArrowLeft: this.position - 1, Home: 0, End: this.run.steps.length }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.go(to);
  }

  /** The next time that the run comes to an instruction; where it does not come again, the first time. */
  runTo(pc) {
    const { steps } = this.run;
    let at = steps.findIndex((step, n) => n > this.position && step[0] === pc);
    if (at < 0) at = steps.findIndex((step) => step[0] === pc);
    this.go(at);
  }

  /** Registers and memory before the step at `position`. */
  at(position) {
    const regs = { ...this.run.start };
    const bytes = this.run.regions.map((region) => new Map(region.chunks.map(([at, text]) => [at, text.match(/../g) ?? []])));
    const put = (region, offset, text) => {
      (text.match(/../g) ?? []).forEach((byte, n) => {
        for (const [start, held] of bytes[region]) {
          const index = offset + n - start;
          if (index >= 0 && index < held.length) held[index] = byte;
        }
      });
    };
    for (const [, changed, , writes] of this.run.steps.slice(0, position)) {
      Object.assign(regs, changed);
      for (const write of writes) put(...write);
    }
    return { regs, bytes };
  }

  draw() {
    const { run, position } = this;
    const step = run.steps[position];
    const before = run.steps[position - 1];
    const state = this.at(position);
    this.slider.value = position;
    this.slider.setAttribute("aria-valuetext", `before instruction ${position + 1} of ${run.steps.length}`);
    this.where.textContent = `${position} of ${run.steps.length} done`;
    this.buttons.forEach((button, n) => (button.disabled = n < 2 ? position === 0 : position === run.steps.length));
    this.root.dataset.position = position;
    for (const row of this.rows.values()) {
      row.classList.remove("bm-to");
      row.removeAttribute("aria-current");
    }
    this.to = null;
    if (step) {
      const [pc, , reads, , note, next] = step;
      this.current = this.rows.get(pc);
      this.current.setAttribute("aria-current", "step");
      if (next !== null && next !== undefined && next !== this.following(pc)) this.to = this.rows.get(next);
      this.to?.classList.add("bm-to");
      const named = reads.map((read) => read[3]).filter(Boolean);
      this.said.replaceChildren(h("code", {}, `${pc}: ${this.rows.get(pc).lastChild.textContent.replace(/ +/g, " ")}`), h("br"), note, ...(named.length ? [" · ", h("b", { class: "bm-field" }, named.join(", "))] : []));
    } else {
      this.current = null;
      this.said.replaceChildren(h("b", {}, run.end));
    }
    reveal(this.program, this.current);
    this.drawArrow();
    this.drawRegs(state.regs, before ? before[1] : {});
    this.drawMemory(state.bytes, step ? step[2] : [], before ? before[3] : []);
  }

  /** The instruction below; a 64-bit load has two places. */
  following(pc) {
    return this.rows.has(pc + 1) ? pc + 1 : pc + 2;
  }

  drawArrow() {
    this.arrow.replaceChildren();
    if (!this.current || !this.to) return;
    const box = this.list.getBoundingClientRect();
    const middle = (row) => row.getBoundingClientRect().top - box.top + row.offsetHeight / 2;
    const [from, to] = [middle(this.current), middle(this.to)];
    const path = document.createElementNS(NS, "path");
    path.setAttribute("d", `M26 ${from} H16 Q10 ${from} 10 ${from + Math.sign(to - from) * 6} V${to - Math.sign(to - from) * 6} Q10 ${to} 16 ${to} H26 m-5 -4 l5 4 l-5 4`);
    this.arrow.setAttribute("width", 30);
    this.arrow.setAttribute("height", box.height);
    this.arrow.append(path);
  }

  drawRegs(regs, changed) {
    const entries = Object.entries(regs).map(([name, text]) => h("div", { class: name in changed ? "bm-lit" : null, "data-register": name }, h("dt", {}, name), h("dd", {}, text)));
    this.regs.replaceChildren(...entries);
  }

  drawMemory(bytes, reads, writes) {
    const parts = this.run.regions.map((region, r) => {
      const mark = new Map();
      for (const [where, offset, text] of writes) if (where === r) for (let n = 0; n < text.length / 2; n++) mark.set(offset + n, "bm-wrote");
      for (const [where, offset, size] of reads) if (where === r) for (let n = 0; n < size; n++) mark.set(offset + n, "bm-read");
      const field = new Map();
      region.fields.forEach(([at, size, title, said], n) => {
        for (let k = 0; k < size; k++) field.set(at + k, [n % 2, `offset ${at}: ${title}${said ? ` = ${said}` : ""}`]);
      });
      const rows = [];
      let end = region.top ? null : 0;
      const leave = (to) => {
        if (end !== null && to > end) rows.push(h("div", { class: "bm-left" }, `… ${(to - end).toLocaleString("en")} bytes not shown`));
      };
      for (const [start, held] of bytes[r]) {
        leave(start);
        if (end !== null) end = start + held.length;
        for (let at = 0; at < held.length; at += region.width) {
          const cells = held.slice(at, at + region.width).map((byte, n) => {
            const known = field.get(start + at + n);
            const kind = mark.get(start + at + n) ?? (known ? `bm-f${known[0]}` : null);
            return h("i", { class: kind, title: known ? known[1] : `offset ${start + at + n}` }, byte);
          });
          rows.push(h("div", {}, h("span", { class: "bm-at" }, region.top ? String(start + at - region.top) : String(start + at)), ...cells));
        }
      }
      leave(region.size);
      const size = region.size.toLocaleString("en");
      const count = region.top ? "from r10 down" : region.of ? `the first ${size} of ${region.of.toLocaleString("en")} bytes` : `${size} bytes`;
      return h("div", { "data-region": region.name }, h("h4", {}, `${region.name} · ${count}`), h("div", { class: "bm-hex", role: "img", "aria-label": `bytes of ${region.name}` }, ...rows));
    });
    this.memory.replaceChildren(...parts);
    const lit = this.memory.querySelector(".bm-read, .bm-wrote");
    reveal(this.memory.parentElement, lit);
  }

  close() {
    this.watch.disconnect();
    this.model.off("change:position", this.moved);
  }
}

export default {
  render({ model, el, signal }) {
    const view = new Stepper(model, el);
    const close = () => view.close();
    signal?.addEventListener("abort", close);
    return signal ? undefined : close;
  },
};
