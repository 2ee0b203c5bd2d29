// The forms of the map explorer: insert, push, ask, pin.

/** Fields above the table: insert, push, pin. submit(values) gives a promise of {ok, message, field}. */
class Form {
  constructor(title, fields, verb, submit, close) {
    this.fields = fields.map((field) => {
      const id = `bx-f-${Math.random().toString(36).slice(2)}`;
      const error = h("div", { class: "bx-error", role: "alert", id: `${id}-e` });
      const input = h("input", {
        id, type: "text", value: field.value ?? "", placeholder: field.hint ?? "", spellcheck: "false", autocomplete: "off", "aria-describedby": `${id}-e`,
      });
      const label = h("label", { for: id }, field.label, h("span", { class: "bx-type" }, field.c ?? ""));
      return { ...field, input, error, element: h("div", { class: `bx-field${field.wide ? " bx-wide" : ""}` }, label, input, error) };
    });
    this.error = h("div", { class: "bx-error", role: "alert" });
    this.submit = submit;
    this.button = h("button", { type: "button", class: "bx-primary", onclick: () => this.send() }, verb);
    const quit = h("button", { type: "button", onclick: close }, "Close");
    this.element = h(
      "div",
      { role: "form", class: "bx-form", "aria-label": title },
      h("h4", {}, title),
      ...this.groups(),
      h("div", { class: "bx-buttons" }, this.button, quit),
      this.error,
    );
    // by hand: notebooks take the Enter key for themselves, and some show widgets where forms may not be submitted
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && event.target.tagName === "INPUT") this.send();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  /** The fields, those of a struct under its name. */
  groups() {
    const groups = new Map();
    for (const field of this.fields) groups.set(field.group, [...(groups.get(field.group) ?? []), field.element]);
    return [...groups].map(([group, elements]) => {
      const legend = group ? h("div", { class: "bx-legend", "aria-hidden": "true" }, group) : null;
      return h("div", group ? { role: "group", "aria-label": group } : {}, legend, h("div", { class: "bx-fields" }, ...elements));
    });
  }

  async send() {
    if (this.button.disabled) return;
    this.button.disabled = true;
    const answer = await this.submit(Object.fromEntries(this.fields.map((field) => [field.id, field.input.value])));
    this.button.disabled = false;
    this.say(answer);
  }

  say({ ok, message, field }) {
    this.error.textContent = "";
    for (const each of this.fields) {
      const mine = !ok && each.id === field;
      each.error.textContent = mine ? message : "";
      each.input.setAttribute("aria-invalid", mine);
      if (mine) each.input.focus();
    }
    if (!ok && !this.fields.some((each) => each.id === field)) this.error.textContent = message;
    if (ok) {
      this.fields[0].input.focus();
      this.fields[0].input.select();
    }
  }
}
