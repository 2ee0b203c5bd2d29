// The map explorer. The kernel (Python) keeps the map's entries; this view asks for one page at a time and asks for the
// next refresh when it has drawn the last one, so a hidden or closed view costs nothing.

const LIMITS = [20, 50, 100, 500];

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.id = Math.random().toString(36).slice(2);
    this.seq = this.asked = 0;
    this.since = 0; // requests before this one were for another page
    this.unanswered = false; // whether a request is not answered yet
    this.waiting = new Map(); // number of a request -> what to do with its answer
    this.live = true;
    this.held = this.hidden = this.ended = false;
    const first = model.get("_first");
    this.trail = [{ map: first.head.token, name: first.head.name }];
    this.state = { query: "", sort: null, desc: false, offset: 0, limit: LIMITS[0], rate: null };
    this.build(el);
    this.show(first);
    this.hear = (message) => this.heard(message);
    model.on("msg:custom", this.hear);
    this.watchSight(el);
    this.lastHeard = Date.now();
    this.watchdog = setInterval(() => this.listen(), 2000);
  }

  /** A kernel that was restarted, or none (a saved page), leaves requests unanswered: then the table must not look live. */
  listen() {
    const patience = 8000 + 4000 * Number(this.page.every);
    if (this.silent || !this.running || !this.unanswered || Date.now() - this.lastHeard < patience) return;
    this.silent = true;
    this.drawPulse();
  }

  build(el) {
    const overview = this.model.get("_overview");
    this.graph = overview ? new Graph(overview, (token) => this.visit([{ map: token }])) : null;
    this.grid = new Grid({
      sort: (column) => this.sort(column),
      edit: (key, column, text) => this.ask("edit", { key, column, text }),
      read: (key, column) => this.ask("read", { key, column }),
      remove: (key) => this.ask("delete", { key }),
      open: (key) => this.open(key),
      turn: (pages) => this.turn(pages),
      tell: (text) => this.tell(text),
      hold: (held) => {
        this.held = held;
        if (!held) this.want(false);
      },
    });
    this.none = h("p", { class: "bx-none" });
    this.grid.element.append(this.none);
    this.header = h("div", { class: "bx-header" });
    this.types = h("details", { class: "bx-types" }, h("summary", {}, "types"), h("pre", {}));
    this.note = h("p", { class: "bx-note" });
    this.search = h("input", {
      type: "search", class: "bx-search", placeholder: "Search", "aria-label": "search entries", spellcheck: "false", autocomplete: "off",
      title: "text or the first digits of a number in any column; or compare one: value > 1000, comm = bash",
    });
    this.queryError = h("div", { class: "bx-error", role: "alert" });
    let typing;
    this.search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.change({ query: this.search.value, offset: 0 }), 250);
    });
    this.rate = h("select", { "aria-label": "rate of", onchange: () => this.change({ rate: this.rate.value }) });
    this.rateBox = h("label", { class: "bx-rate" }, "rate of ", this.rate);
    this.pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => this.toggle() }, "Pause");
    this.actions = h("span", { class: "bx-actions" });
    this.drawer = h("div", { class: "bx-drawer" });
    this.pager = this.buildPager();
    this.pulse = h("span", { class: "bx-pulse" });
    this.said = h("div", { class: "bx-said", role: "status", "aria-live": "polite" });
    this.heardSearch = h("div", { class: "bx-hidden", role: "status", "aria-live": "polite" }); // seen beside the pulse
    this.tools = h("div", { class: "bx-tools" }, this.search, this.rateBox, h("span", { class: "bx-gap" }), this.actions, this.pause);
    const below = h("div", { class: "bx-below" }, this.pulse, this.said, this.pager);
    this.panel = h(
      "div",
      { class: "bx-panel", role: this.graph ? "tabpanel" : "group" },
      this.header, this.types, this.note, this.tools, this.queryError, this.drawer, this.grid.element, below, this.heardSearch,
    );
    this.root = h("section", { class: "bpflab-explorer", "aria-label": "map explorer", "data-lm-suppress-shortcuts": "true" }, this.graph?.element, this.panel);
    el.append(this.root);
  }

  buildPager() {
    const button = (text, label, turn) => h("button", { type: "button", "aria-label": label, title: label, onclick: turn }, text);
    this.turns = [
      button("«", "first page", () => this.change({ offset: 0 })),
      button("‹", "page before", () => this.turn(-1)),
      button("›", "next page", () => this.turn(1)),
      button("»", "last page", () => this.change({ offset: Math.max(0, Math.ceil(this.page.matched / this.state.limit) - 1) * this.state.limit })),
    ];
    this.number = h("input", { type: "text", inputmode: "numeric", class: "bx-number", "aria-label": "page" });
    const go = () => {
      const page = Math.max(1, parseInt(this.number.value.replace(/\D/g, ""), 10) || 1);
      this.change({ offset: (page - 1) * this.state.limit });
    };
    this.number.addEventListener("change", go);
    this.number.addEventListener("keydown", (event) => event.key === "Enter" && go()); // see Form
    this.of = h("span", {});
    const limit = h("select", { "aria-label": "rows a page", onchange: () => this.change({ limit: Number(limit.value), offset: 0 }) });
    limit.append(...LIMITS.map((n) => h("option", { value: n }, `${n} rows`)));
    const [first, before, next, last] = this.turns;
    return h("nav", { class: "bx-pager", "aria-label": "pages" }, first, before, this.number, this.of, next, last, limit);
  }

  // ---- asking

  get map() {
    return this.trail[this.trail.length - 1].map;
  }

  want(fresh) {
    if (this.ended) return;
    this.seq += 1;
    if (!fresh) this.since = this.seq;
    this.unanswered = true;
    this.model.send({ do: "want", view: this.id, seq: this.seq, fresh, map: this.map, ...this.state });
  }

  rest() {
    this.model.send({ do: "rest", view: this.id });
  }

  ask(what, details) {
    const id = `${this.id}-${(this.asked += 1)}`;
    return new Promise((answer) => {
      this.waiting.set(id, answer);
      this.model.send({ do: what, id, map: this.map, ...details });
    }).then((answer) => {
      if (answer.ok && answer.message) this.tell(answer.message);
      this.want(false);
      return answer;
    });
  }

  change(part) {
    Object.assign(this.state, part);
    this.want(false);
  }

  turn(pages) {
    const offset = this.state.offset + pages * this.state.limit;
    if (offset >= 0 && offset < this.page.matched) this.change({ offset });
  }

  sort(column) {
    const { sort, desc } = this.state;
    const numeric = ["number", "rate"].includes(this.page.columns.find((each) => each.id === column)?.kind);
    // first click: what one most likely looks for; second: the other way; third: as the kernel lists them
    if (sort !== column) this.change({ sort: column, desc: numeric, offset: 0 });
    else if (desc === numeric) this.change({ desc: !desc, offset: 0 });
    else this.change({ sort: null, desc: false, offset: 0 });
  }

  visit(trail) {
    this.trail = trail;
    this.ended = false;
    this.closeDrawer();
    this.search.value = "";
    Object.assign(this.state, { query: "", sort: null, desc: false, offset: 0, rate: null });
    this.want(false);
  }

  async open(key) {
    const answer = await this.ask("open", { key });
    if (answer.ok) this.visit([...this.trail, { map: answer.map, name: answer.name }]);
    else this.tell(answer.message, true);
  }

  toggle() {
    this.live = !this.live;
    this.pause.setAttribute("aria-pressed", !this.live);
    if (this.live) this.want(true);
    else this.rest();
    this.drawPulse();
  }

  // ---- hearing

  heard(message) {
    if (message.say === "done") {
      this.waiting.get(message.id)?.(message);
      this.waiting.delete(message.id);
      return;
    }
    this.lastHeard = Date.now();
    this.silent = false;
    if (message.view !== this.id || message.seq < this.since) return; // another view's, or of another page
    if (message.seq === this.seq) this.unanswered = false;
    if (message.say === "ended") {
      this.ended = true;
      this.drawPulse();
      this.tell(message.message, true);
    } else if (message.say === "page") {
      this.show(message);
      // while a cell keeps requests waiting, pages come unasked; one request in the queue is enough
      if (this.running && !this.unanswered) this.want(true);
    }
  }

  get running() {
    return this.live && !this.held && !this.hidden && !this.ended;
  }

  watchSight(el) {
    const look = () => {
      const hidden = document.hidden || !this.inSight;
      if (hidden === this.hidden) return;
      this.hidden = hidden;
      if (hidden) this.rest();
      else if (this.live) this.want(true);
    };
    this.hidden = true;
    this.sight = new IntersectionObserver((entries) => {
      this.inSight = entries[entries.length - 1].isIntersecting;
      look();
    });
    this.sight.observe(el);
    this.look = look;
    document.addEventListener("visibilitychange", look);
  }

  close() {
    this.ended = true;
    this.rest();
    clearInterval(this.watchdog);
    this.sight.disconnect();
    document.removeEventListener("visibilitychange", this.look);
    this.model.off("msg:custom", this.hear);
    this.graph?.close();
  }

  // ---- drawing

  show(page) {
    const before = this.page;
    this.page = page;
    this.state.offset = page.offset;
    this.trail[this.trail.length - 1].name = page.head.name;
    this.queryError.textContent = page.error ?? "";
    this.search.setAttribute("aria-invalid", Boolean(page.error));
    if (JSON.stringify(before?.head) !== JSON.stringify(page.head)) this.drawHead();
    const listed = page.columns.length > 0;
    const { search, refresh } = page.head.can;
    for (const part of [this.pager, this.search]) part.hidden = !search;
    for (const part of [this.pause, this.pulse]) part.hidden = !refresh;
    this.grid.element.hidden = !listed;
    this.none.hidden = !listed;
    this.drawRate();
    this.drawPager();
    this.drawPulse();
    if (listed) this.grid.show(page, this.state);
    if (before && this.state.query && before.matched !== page.matched && before.query !== this.state.query) {
      this.heardSearch.textContent = `${page.matched} of ${page.total} entries found`;
    }
    page.query = this.state.query;
    this.root.dataset.refreshes = page.refreshes;
  }

  drawHead() {
    const { head } = this.page;
    this.graph?.select(this.trail[0].map);
    this.panel.setAttribute("aria-label", `map ${head.name}`);
    const crumbs = this.trail.map((step, i) =>
      i < this.trail.length - 1
        ? h("button", { type: "button", class: "bx-crumb", onclick: () => this.visit(this.trail.slice(0, i + 1)) }, step.name, h("span", { "aria-hidden": "true" }, " ›"))
        : h("h3", {}, head.name),
    );
    const badges = [head.type, `id ${head.id}`, ...head.badges].map((text) =>
      h("span", { class: `bx-badge${text === "frozen" ? " bx-frozen" : ""}` }, text),
    );
    const pins = head.pins.map((path) => {
      const undo = { type: "button", class: "bx-unpin", title: "unpin", "aria-label": `unpin ${path}`, onclick: () => this.unpin(path) };
      return h("span", { class: "bx-badge bx-pin" }, `pinned at ${path} `, h("button", undo, "✕"));
    });
    this.header.replaceChildren(...crumbs, ...badges, ...pins, h("span", { class: "bx-gap" }), this.meter(head));
    this.types.firstChild.textContent = head.types;
    this.types.lastChild.textContent = head.c;
    this.types.classList.toggle("bx-flat", !head.c);
    this.note.textContent = head.note;
    this.note.hidden = !head.note;
    this.drawActions(head);
  }

  meter({ used, room, said }) {
    const text = h("span", {}, said);
    if (used == null || !room) return h("span", { class: "bx-fill" }, text);
    const bar = { role: "meter", "aria-label": "how full it is", "aria-valuemin": 0, "aria-valuemax": room, "aria-valuenow": used, "aria-valuetext": said };
    const share = Math.min(1, used / room);
    const level = h("span", { class: "bx-level", style: `width:${100 * share}%` });
    return h("span", { class: `bx-fill${share > 0.9 ? " bx-full" : ""}` }, h("span", { class: "bx-bar", ...bar }, level), text);
  }

  drawActions({ can, name }) {
    const buttons = [];
    const button = (text, action) => buttons.push(h("button", { type: "button", onclick: action }, text));
    if (can.insert) button(can.insert.verb + "…", () => this.drawInsert(can.insert));
    if (can.pop) button("Pop", () => this.ask("pop", {}).then((answer) => answer.ok || this.tell(answer.message, true)));
    if (can.test) button("Ask…", () => this.openDrawer("Is this value in the map?", can.test, "Ask", (values) => this.ask("test", { fields: values })));
    if (can.pin) {
      const field = { id: "path", label: "path", value: `/sys/fs/bpf/${name}`, wide: true };
      button("Pin…", () => this.openDrawer("Pin this map", [field], "Pin", (values) => this.ask("pin", values).then((answer) => this.shut(answer))));
    }
    this.actions.replaceChildren(...buttons);
  }

  drawInsert({ verb, title, fields }) {
    this.openDrawer(title, fields, verb, (values) => this.ask("insert", { fields: values }));
  }

  openDrawer(title, fields, verb, submit) {
    const opener = document.activeElement;
    this.closeDrawer = () => {
      this.drawer.replaceChildren();
      if (opener?.isConnected) opener.focus();
      this.closeDrawer = () => {};
    };
    const form = new Form(title, fields, verb, submit, () => this.closeDrawer());
    this.drawer.replaceChildren(form.element);
    form.fields[0]?.input.focus();
  }

  closeDrawer() {}

  shut(answer) {
    if (answer.ok) this.closeDrawer();
    return answer;
  }

  unpin(path) {
    this.ask("unpin", { path }).then((answer) => answer.ok || this.tell(answer.message, true));
  }

  drawRate() {
    const { rates, rate } = this.page;
    this.rateBox.hidden = rates.length < 2;
    const names = rates.map((each) => each.id).join();
    if (names !== this.rateNames) {
      this.rateNames = names;
      this.rate.replaceChildren(...rates.map((each) => h("option", { value: each.id }, each.label)));
    }
    this.rate.value = rate;
  }

  drawPager() {
    const { matched, total, offset, rows } = this.page;
    const pages = Math.max(1, Math.ceil(matched / this.state.limit));
    const page = Math.floor(offset / this.state.limit) + 1;
    if (document.activeElement !== this.number) this.number.value = page;
    this.number.style.width = `${Math.max(4, String(pages).length + 3)}ch`;
    this.of.textContent = `of ${pages.toLocaleString("en")}`;
    this.turns.forEach((button, i) => (button.disabled = i < 2 ? page === 1 : page === pages));
    this.pager.classList.toggle("bx-one", pages === 1);
    this.range = matched === total ? "" : `${matched.toLocaleString("en")} of ${total.toLocaleString("en")} found · `;
    this.none.hidden = rows.length > 0;
    this.none.textContent = total ? "nothing found" : this.page.head.empty;
  }

  drawPulse() {
    const { changes, every, at } = this.page;
    const state = this.ended ? "ended" : !this.live ? "paused" : this.silent ? `as read at ${at}: no kernel answers` : `every ${every} s`;
    const n = (count, word, sign) => (count ? h("b", { class: `bx-${word}` }, `${sign}${count.toLocaleString("en")} ${word}`) : null);
    const news = changes ? [n(changes.new, "new", "+"), n(changes.changed, "changed", ""), n(changes.gone, "gone", "−")].filter(Boolean) : [];
    const dot = h("span", { class: `bx-dot${state.startsWith("every") ? "" : " bx-off"}`, "aria-hidden": "true" });
    this.pulse.replaceChildren(dot, this.range + state, ...news);
    this.pause.textContent = this.live ? "Pause" : "Resume";
  }

  tell(text, wrong = false) {
    this.said.textContent = text;
    this.said.classList.toggle("bx-wrong", wrong);
  }
}

export default {
  render({ model, el, signal }) {
    const view = new Explorer(model, el);
    const close = () => view.close();
    signal?.addEventListener("abort", close);
    return signal ? undefined : close;
  },
};
