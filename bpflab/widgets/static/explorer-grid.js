// The grid of the map explorer: a table with the ARIA grid pattern. Rows are reused from page to page, so that the
// cell in focus stays in focus while the numbers under it change. Part of one module: see explorer.py.

/** An element: h("button", {class: "x", onclick: f, "aria-label": "…"}, "text", child). */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Shows digits in threes without a character between them: what is copied or read aloud is the number. */
function putNumber(cell, text) {
  const digits = /^(-?)(\d{5,})$/.exec(text);
  if (!digits) return void (cell.textContent = text);
  const head = digits[2].length % 3 || 3;
  const groups = [digits[1] + digits[2].slice(0, head)];
  for (let at = head; at < digits[2].length; at += 3) groups.push(digits[2].slice(at, at + 3));
  cell.replaceChildren(...groups.map((group) => h("span", { class: "bx-three" }, group)));
}

const RIGHT = new Set(["number", "pointer", "rate"]);

class Grid {
  /**
   * @param asks  what the grid wants done: sort(column), edit(row, column, text), remove(row), open(row), turn(pages),
   *              hold(bool), tell(text). edit, read and remove give a promise of {ok, message}.
   */
  constructor(asks) {
    this.asks = asks;
    this.columns = [];
    this.rows = [];
    this.at = { row: 0, column: 0 };
    this.editing = null;
    this.head = h("thead");
    this.body = h("tbody");
    this.table = h("table", { role: "grid", class: "bx-grid" }, this.head, this.body);
    this.element = h("div", { class: "bx-scroll" }, this.table);
    this.table.addEventListener("keydown", (event) => this.key(event));
    this.table.addEventListener("mousedown", (event) => this.point(event));
    this.table.addEventListener("dblclick", (event) => {
      const cell = event.target.closest("td");
      if (cell && !this.editing) this.edit(cell);
    });
    this.table.addEventListener("focusin", (event) => this.follow(event.target.closest("td, th")));
  }

  /** Draws one page. While a cell is being edited nothing may move under it, so the page waits. */
  show(page, state) {
    if (this.editing) return;
    const names = JSON.stringify([page.columns, page.head.can]);
    if (names !== this.names) {
      this.names = names;
      this.columns = page.columns;
      this.can = page.head.can;
      this.body.replaceChildren();
      this.rows = [];
      this.drawHead();
    }
    this.table.setAttribute("aria-label", `entries of map ${page.head.name}`);
    this.table.setAttribute("aria-rowcount", page.matched + 2);
    this.table.setAttribute("aria-colcount", this.width);
    this.markSort(state);
    const focused = this.table.contains(document.activeElement);
    while (this.rows.length > page.rows.length) this.rows.pop().remove();
    while (this.rows.length < page.rows.length) this.rows.push(this.body.appendChild(this.makeRow()));
    page.rows.forEach((row, i) => this.fill(this.rows[i], row, page.offset + i));
    this.at.row = Math.min(this.at.row, this.rows.length - 1);
    this.rove(focused && !this.table.contains(document.activeElement));
  }

  get width() {
    return this.columns.length + (this.can.delete ? 1 : 0);
  }

  drawHead() {
    const groups = h("tr", { class: "bx-groups", "aria-rowindex": 1 });
    for (let i = 0; i < this.columns.length; ) {
      let end = i;
      while (end < this.columns.length && this.columns[end].group === this.columns[i].group) end++;
      const { group } = this.columns[i];
      groups.append(h("th", { scope: "colgroup", colspan: end - i, class: `bx-in-${this.columns[i].part}` }, group));
      this.columns[i].first = true;
      i = end;
    }
    const labels = h("tr", { class: "bx-labels", "aria-rowindex": 2 });
    this.columns.forEach((column, i) => {
      const sort = h(
        "button",
        { type: "button", tabindex: -1, class: "bx-sort", title: `sort by ${column.label}`, onclick: () => this.asks.sort(column.id) },
        h("span", { class: "bx-label" }, column.label),
        h("span", { class: "bx-arrow", "aria-hidden": "true" }),
        h("span", { class: "bx-type" }, column.c),
      );
      labels.append(h("th", { scope: "col", "aria-colindex": i + 1, "aria-sort": "none", class: this.classes(column) }, sort));
    });
    if (this.can.delete) {
      groups.append(h("td"));
      labels.append(h("th", { scope: "col", class: "bx-act", "aria-colindex": this.width }, h("span", { class: "bx-hidden" }, "delete")));
    }
    this.head.replaceChildren(groups, labels);
    this.labels = labels;
  }

  classes(column) {
    return [
      `bx-in-${column.part}`,
      column.first && "bx-first",
      RIGHT.has(column.kind) && "bx-right",
      ["text", "raw", "list", "struct"].includes(column.kind) && "bx-code",
      column.sum && "bx-sum",
    ]
      .filter(Boolean)
      .join(" ");
  }

  markSort({ sort, desc }) {
    this.columns.forEach((column, i) => {
      const way = column.id !== sort ? "none" : desc ? "descending" : "ascending";
      this.labels.cells[i].setAttribute("aria-sort", way);
    });
  }

  makeRow() {
    const row = h("tr");
    this.columns.forEach((column, i) => {
      const cell = h("td", { tabindex: -1, class: this.classes(column), "aria-colindex": i + 1 });
      cell.column = column;
      if (!column.edit) cell.setAttribute("aria-readonly", "true");
      row.append(cell);
    });
    if (this.can.delete) {
      const remove = h("button", { type: "button", tabindex: -1, class: "bx-x", onclick: () => this.confirm(row) }, "✕");
      row.append(h("td", { class: "bx-act", "aria-colindex": this.width }, remove));
    }
    return row;
  }

  fill(row, data, index) {
    row.key = data.key;
    row.name = data.cells.filter((_, i) => this.columns[i].part === "key").join(" ");
    row.setAttribute("aria-rowindex", index + 3);
    row.classList.toggle("bx-new", data.new);
    row.classList.toggle("bx-padded", Boolean(data.padding));
    if (data.padding) row.title = "The bytes between the members of this key are not all zero: it differs from a key that looks the same.";
    else row.removeAttribute("title");
    const lit = new Set(data.changed);
    this.columns.forEach((column, i) => {
      const cell = row.cells[i];
      const text = data.cells[i];
      cell.classList.toggle("bx-lit", lit.has(i));
      cell.classList.toggle("bx-zero", text === "0" && column.part !== "key");
      if (cell.shown === text) return;
      cell.shown = text;
      if (column.opens && text) {
        cell.replaceChildren(
          h("button", { type: "button", tabindex: -1, class: "bx-open", title: "open this map", onclick: () => this.asks.open(row.key) }, text),
        );
      } else if (column.kind === "number" && column.part === "value") putNumber(cell, text);
      else cell.textContent = text;
      if (text.length > 24) cell.title = text;
      else cell.removeAttribute("title");
    });
    const remove = row.querySelector(".bx-x");
    if (remove) {
      remove.setAttribute("aria-label", `delete entry ${row.name}`);
      remove.title = "delete this entry";
    }
  }

  /** The element that takes the focus for a place in the grid; row -1 is the head. */
  target(row, column) {
    const cell = (row < 0 ? this.labels : this.rows[row])?.cells[column];
    return cell?.querySelector("button") ?? cell;
  }

  rove(focus) {
    this.table.querySelectorAll("[tabindex='0']").forEach((element) => (element.tabIndex = -1));
    const target = this.target(this.at.row, this.at.column);
    if (!target) return;
    target.tabIndex = 0;
    if (focus) target.focus();
  }

  follow(cell) {
    if (!cell || this.editing) return;
    const row = this.rows.indexOf(cell.parentElement);
    if (row < 0 && cell.parentElement !== this.labels) return;
    this.at = { row, column: cell.cellIndex };
    this.rove(false);
  }

  point(event) {
    const cell = event.target.closest("td");
    if (cell && !event.target.closest("button, input")) {
      this.follow(cell);
      this.target(this.at.row, this.at.column)?.focus();
    }
  }

  key(event) {
    if (this.editing || event.target.closest(".bx-ask")) return;
    const { row, column } = this.at;
    const last = { row: this.rows.length - 1, column: this.width - 1 };
    const jump = event.ctrlKey || event.metaKey;
    const moves = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [jump ? 0 : row, 0],
      End: [jump ? last.row : row, last.column],
    };
    if (event.key in moves) {
      const [r, c] = moves[event.key];
      this.at = { row: Math.max(-1, Math.min(last.row, r)), column: Math.max(0, Math.min(last.column, c)) };
      this.rove(true);
    } else if (event.key === "PageDown" || event.key === "PageUp") {
      this.asks.turn(event.key === "PageDown" ? 1 : -1);
    } else if (row >= 0 && (event.key === "F2" || event.key === "Enter") && event.target.tagName === "TD") {
      this.edit(event.target);
    } else if (row >= 0 && event.key === "Delete" && this.can.delete) {
      this.confirm(this.rows[row]);
    } else return;
    event.preventDefault();
  }

  /** Turns a cell into a field. Enter sends it, Escape gives it up; an answer that is no stands below the field. */
  edit(cell) {
    const { column } = cell;
    const row = cell.parentElement;
    if (!column?.edit) {
      this.asks.tell(column ? column.why || `${column.label} cannot be changed` : "");
      return;
    }
    const before = cell.shown;
    const error = h("div", { class: "bx-error", role: "alert", id: `bx-e-${Math.random().toString(36).slice(2)}` });
    const input = h("input", {
      type: "text", class: "bx-edit", value: before, spellcheck: "false", autocomplete: "off",
      "aria-label": `new ${column.label} (${column.c}) of entry ${row.name}`, "aria-describedby": error.id,
    });
    input.style.width = `${Math.max(before.length + 3, 9)}ch`;
    this.editing = { cell };
    this.asks.hold(true);
    const close = (text) => {
      this.editing = null;
      cell.shown = null;
      cell.classList.remove("bx-editing");
      if (column.kind === "number" && column.part === "value") putNumber(cell, text);
      else cell.textContent = text;
      this.asks.hold(false);
      this.rove(true);
    };
    let busy = false;
    if (column.kind === "list" || column.kind === "raw") {
      // the cell shows the beginning of a long list; all of it is asked for
      busy = input.readOnly = true;
      this.asks.read(row.key, column.id).then((answer) => {
        busy = input.readOnly = false;
        if (answer.ok) input.value = answer.text;
        else error.textContent = answer.message;
      });
    }
    input.addEventListener("keydown", async (event) => {
      event.stopPropagation();
      if (event.key === "Escape") close(before);
      if (event.key !== "Enter" || busy) return;
      busy = true;
      input.readOnly = true;
      const answer = await this.asks.edit(row.key, column.id, input.value);
      busy = false;
      if (!this.editing) return;
      input.readOnly = false;
      if (answer.ok) return close(input.value);
      error.textContent = answer.message;
      input.setAttribute("aria-invalid", "true");
      input.focus();
    });
    input.addEventListener("blur", () => {
      // leaving without Enter changes nothing; an error stays until it is read and left
      if (!busy && this.editing?.cell === cell) close(before);
    });
    cell.classList.add("bx-editing");
    cell.replaceChildren(input, h("div", { class: "bx-hint" }, "Enter saves, Esc leaves"), error);
    input.focus();
    input.select();
  }

  /** Asks before an entry is deleted, in its own row. */
  confirm(row) {
    const cell = row.cells[row.cells.length - 1];
    if (cell.querySelector(".bx-ask")) return;
    this.editing = { cell };
    this.asks.hold(true);
    const remove = cell.firstChild;
    const error = h("div", { class: "bx-error", role: "alert" });
    const close = () => {
      this.editing = null;
      cell.classList.remove("bx-editing");
      cell.replaceChildren(remove);
      this.asks.hold(false);
      this.rove(true);
    };
    const yes = h("button", { type: "button", class: "bx-danger" }, "Delete");
    const no = h("button", { type: "button", onclick: close }, "Keep");
    yes.addEventListener("click", async () => {
      yes.disabled = no.disabled = true;
      const answer = await this.asks.remove(row.key);
      if (answer.ok) return close();
      yes.disabled = no.disabled = false;
      error.textContent = answer.message;
      no.focus();
    });
    const ask = h("div", { class: "bx-ask", role: "group", "aria-label": `delete entry ${row.name}?` }, yes, no, error);
    ask.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") close();
    });
    cell.classList.add("bx-editing");
    cell.replaceChildren(ask);
    yes.focus();
  }
}
