// Events drawn while they come: what a view asks for, and what a reader may press. live-pictures.js draws.

class Live extends Pictures {
  constructor(model, el) {
    super();
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

export default {
  render({ model, el, signal }) {
    const view = new Live(model, el);
    const close = () => view.close();
    signal?.addEventListener("abort", close);
    return signal ? undefined : close;
  },
};
