// The browser of what can be traced. Names are searched here; what is behind one is asked of the notebook's kernel.

const AT_ONCE = 200; // rows that are drawn; more on demand
const WAIT_MS = 120; // a key held down asks only for where it stops

class Browser {
  constructor(model, el) {
    this.model = model;
    this.lists = model.get("_groups").map((group, n) => new Names(group, n));
    this.on = new Set(this.lists.map((names) => names.kind));
    this.most = AT_ONCE;
    this.seq = 0;
    this.build(el);
    this.heard = (message) => this.hear(message);
    this.changed = () => {
      if (this.input.value !== model.get("text")) {
        this.input.value = model.get("text");
        this.search();
      }
    };
    model.on("msg:custom", this.heard);
    model.on("change:text", this.changed);
    this.watch = new ResizeObserver(() => this.root.classList.toggle("bm-narrow", this.root.clientWidth < 760));
    this.watch.observe(this.root);
    this.search();
  }

  build(el) {
    const about = this.model.get("_about");
    this.input = h("input", {
      type: "text", class: "bb-search", placeholder: "search: openat, vfs_*, syscalls enter", "aria-label": "search what can be traced",
      spellcheck: "false", autocomplete: "off", role: "combobox", "aria-expanded": "true", "aria-controls": "bb-list",
      oninput: () => this.typed(), onkeydown: (event) => this.key(event),
    });
    this.input.value = this.model.get("text");
    const kinds = [...new Set(this.lists.map((names) => names.kind))];
    this.filters = kinds.map((kind) => {
      const count = this.lists.filter((names) => names.kind === kind).reduce((sum, names) => sum + names.count, 0);
      return h("button", { type: "button", "aria-pressed": "true", "data-kind": kind, disabled: count ? null : "", onclick: (event) => this.filter(kind, event.altKey || event.shiftKey) },
        `${plural(kind)} `, h("span", { class: "bb-count" }, count.toLocaleString("en")));
    });
    this.total = h("span", { class: "bb-total", role: "status" });
    this.list = h("ul", { class: "bm-scroll bb-list", id: "bb-list", role: "listbox", "aria-label": "what can be traced", tabindex: "0", onkeydown: (event) => this.key(event) });
    this.detail = h("div", { class: "bb-detail", "aria-live": "polite" });
    this.root = frame("browser", "what can be traced",
      h("div", { class: "bm-bar" }, h("h3", {}, "What can be traced"), h("span", { class: "bm-badge" }, about.where)),
      h("div", { class: "bm-bar bb-bar" }, this.input, this.total),
      h("div", { class: "bm-bar", role: "group", "aria-label": "kinds" }, ...this.filters),
      h("div", { class: "bb-panes" }, this.list, this.detail),
      about.note ? h("p", { class: "bm-note" }, about.note) : null,
    );
    el.append(this.root);
  }

  typed() {
    this.most = AT_ONCE;
    this.search();
    this.model.set("text", this.input.value);
    this.model.save_changes();
  }

  /** One kind off or on; with Shift or Alt this one alone. */
  filter(kind, alone) {
    if (alone) this.on = new Set([kind]);
    else if (!this.on.delete(kind)) this.on.add(kind);
    for (const button of this.filters) button.setAttribute("aria-pressed", String(this.on.has(button.dataset.kind)));
    this.search();
  }

  search() {
    const start = performance.now();
    const text = this.input.value;
    const lists = this.lists.filter((names) => this.on.has(names.kind));
    const { total, places } = search(lists, text, this.most);
    this.places = places;
    this.root.dataset.took = (performance.now() - start).toFixed(1);
    this.total.textContent = total === 1 ? "1 place" : `${total.toLocaleString("en")} places`;
    const words = wordsOf(text).map((word) => word.replace(/[*?]/g, "")).filter(Boolean);
    const rows = places.map((place, n) => this.row(place, n, words));
    if (total > places.length) {
      const left = total - places.length;
      rows.push(h("li", { class: "bb-more" }, h("button", { type: "button", onclick: () => { this.most += AT_ONCE; this.search(); } }, `${Math.min(left, AT_ONCE)} more`), ` of ${left.toLocaleString("en")}; or type more of the name`));
    }
    this.list.replaceChildren(...rows);
    this.list.scrollTop = 0;
    if (places.length) this.choose(0);
    else this.nothing(text);
  }

  row(place, n, words) {
    const where = place.group.kind === "user function" || place.group.kind === "USDT" ? place.where.split("/").pop() : place.where;
    return h("li", { role: "option", id: `bb-${n}`, "aria-selected": "false", title: place.signature || null, onclick: () => this.choose(n) },
      h("span", { class: `bb-kind bb-${place.group.kind.replaceAll(" ", "-")}`, title: place.group.kind }, SHORT[place.group.kind]),
      h("span", { class: "bb-name" }, ...lit(place.name, words)), h("span", { class: "bb-where" }, where));
  }

  nothing(text) {
    this.current = null;
    this.list.replaceChildren(h("li", { class: "bb-more" }, "nothing has that name"));
    this.detail.replaceChildren();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.model.send({ do: "near", seq: ++this.seq, text: text.trim() }), 2 * WAIT_MS);
  }

  choose(n) {
    this.current = n;
    for (const row of this.list.querySelectorAll('[aria-selected="true"]')) row.setAttribute("aria-selected", "false");
    const row = this.list.children[n];
    row.setAttribute("aria-selected", "true");
    this.input.setAttribute("aria-activedescendant", row.id);
    this.list.setAttribute("aria-activedescendant", row.id);
    reveal(this.list, row);
    const place = this.places[n];
    const seq = ++this.seq;
    clearTimeout(this.timer);
    clearTimeout(this.late);
    this.timer = setTimeout(() => this.model.send({ do: "show", seq, group: place.group.number, line: place.number }), WAIT_MS);
    this.late = setTimeout(() => this.wait(place), 2000);
    this.asked = place;
  }

  wait(place) {
    this.detail.replaceChildren(this.head(place), h("p", { class: "bm-note" }, "waiting for the notebook's kernel, which is busy or has ended"));
  }

  head(place) {
    return h("div", { class: "bb-head" }, h("h4", {}, place.group.kind, " · ", place.where), h("div", { class: "bb-title" }, place.name));
  }

  hear(message) {
    if (message.seq !== this.seq) return;
    clearTimeout(this.late);
    if (message.say === "near") {
      const names = message.names ?? [];
      if (names.length) this.list.replaceChildren(h("li", { class: "bb-more" }, "nothing has that name; did you mean ", ...names.map((name) => h("button", { type: "button", onclick: () => this.set(name) }, name)), "?"));
      return;
    }
    const place = this.asked;
    if (message.error) {
      this.detail.replaceChildren(this.head(place), h("p", { class: "bb-bad" }, message.error));
      return;
    }
    const rows = message.fields.map(([type, name, offset, size]) => h("tr", {}, h("td", {}, type), h("td", { class: "bb-field" }, name), h("td", {}, String(offset)), h("td", {}, String(size))));
    const fields = rows.length ? h("div", { class: "bm-scroll bb-fields" }, h("table", {}, h("thead", {}, h("tr", {}, ...["type", "field", "offset", "bytes"].map((title) => h("th", { scope: "col" }, title)))), h("tbody", {}, ...rows))) : null;
    this.detail.replaceChildren(
      this.head(place),
      ...[
        message.signature ? h("pre", { class: "bb-signature" }, wrapped(message.signature)) : null,
        fields,
        message.printed ? h("p", { class: "bb-printed", title: message.printed }, "the kernel prints it as ", h("code", {}, message.printed.split('",')[0].replace(/^"/, ""))) : null,
        message.lacks ? h("p", { class: "bb-bad" }, message.lacks) : null,
        this.cell("1. the program", message.program),
        this.cell("2. attach and read", message.read),
      ].filter(Boolean),
    );
    this.root.dataset.shown = place.name;
  }

  cell(title, text) {
    const button = h("button", { type: "button", "aria-label": `copy ${title.slice(3)}`, onclick: async () => {
      const done = await copy(text);
      button.textContent = done ? "Copied" : "Select it and press Ctrl+C";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    } }, "Copy");
    return h("div", { class: "bb-cell" }, h("div", { class: "bm-bar" }, h("h4", {}, title), h("span", { class: "bm-gap" }), button), h("pre", { class: "bm-scroll", tabindex: "0", "aria-label": title }, text));
  }

  set(text) {
    this.input.value = text;
    this.typed();
    this.input.focus();
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step && this.current !== null) {
      event.preventDefault();
      this.choose(Math.max(0, Math.min(this.places.length - 1, this.current + step)));
    } else if (event.key === "Escape" && this.input.value) {
      event.preventDefault();
      this.set("");
    } else if (event.key === "Enter" && this.current !== null) {
      event.preventDefault();
      this.detail.querySelector("button")?.focus();
    }
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.late);
    this.watch.disconnect();
    this.model.off("msg:custom", this.heard);
    this.model.off("change:text", this.changed);
  }
}

const SHORT = { tracepoint: "tp", "kernel function": "fn", "user function": "user", USDT: "usdt", "perf event": "perf" };

function plural(kind) {
  return kind === "USDT" ? "USDT probes" : `${kind}s`;
}

/** A long C declaration, a parameter on each line. */
function wrapped(text) {
  return text.length > 70 ? text.replace("(", "(\n    ").replaceAll(", ", ",\n    ") : text;
}

/** A name with the searched words marked. */
function lit(name, words) {
  const low = name.toLowerCase();
  const marks = new Array(name.length).fill(false);
  for (const word of words) for (let at = low.indexOf(word); at >= 0; at = low.indexOf(word, at + 1)) marks.fill(true, at, at + word.length);
  const parts = [];
  for (let at = 0; at < name.length; ) {
    let end = at + 1;
    while (end < name.length && marks[end] === marks[at]) end++;
    parts.push(marks[at] ? h("mark", {}, name.slice(at, end)) : name.slice(at, end));
    at = end;
  }
  return parts;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // a page that is not https has no clipboard; the old way works there
    const area = h("textarea", { style: "position:fixed;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export default {
  render({ model, el, signal }) {
    const view = new Browser(model, el);
    const close = () => view.close();
    signal?.addEventListener("abort", close);
    return signal ? undefined : close;
  },
};
