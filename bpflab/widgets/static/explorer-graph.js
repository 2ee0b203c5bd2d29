// The programs and maps of an object, with an arrow from each program to each map that it uses.

const SVG = "http://www.w3.org/2000/svg";

class Graph {
  /** @param overview {programs: [{name, type, maps: [token]}], maps: [{token, name, type, size}]} */
  constructor(overview, choose) {
    this.overview = overview;
    this.lines = document.createElementNS(SVG, "svg");
    this.lines.setAttribute("class", "bx-lines");
    this.lines.setAttribute("aria-hidden", "true");
    this.programs = overview.programs.map((program) =>
      h("li", { class: "bx-node bx-program" }, h("b", {}, program.name), h("span", {}, program.type)),
    );
    this.maps = overview.maps.map((map) => {
      const users = overview.programs.filter((program) => program.maps.includes(map.token)).map((program) => program.name);
      const said = `${map.name}, ${map.type}, ${users.length ? `used by ${users.join(", ")}` : "used by no program"}`;
      const tab = h(
        "button",
        { type: "button", role: "tab", class: "bx-node bx-map", "aria-label": said, onclick: () => choose(map.token) },
        h("b", {}, map.name),
        h("span", {}, `${map.type} · ${map.size}`),
      );
      tab.addEventListener("pointerenter", () => this.draw(map.token));
      tab.addEventListener("pointerleave", () => this.draw());
      return tab;
    });
    const tabs = h("div", { role: "tablist", "aria-label": "maps", "aria-orientation": "vertical", class: "bx-side" }, ...this.maps);
    tabs.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const at = (this.maps.indexOf(document.activeElement) + step + this.maps.length) % this.maps.length;
      this.maps[at].focus();
      choose(overview.maps[at].token);
      event.preventDefault();
    });
    this.element = h(
      "div",
      { class: "bx-graph" },
      h("div", { class: "bx-side" }, h("h4", {}, "Programs"), h("ul", { class: "bx-side" }, ...this.programs)),
      h("div", { class: "bx-side" }, h("h4", {}, "Maps they use"), tabs),
      this.lines,
    );
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.element);
  }

  /** Marks the map that the table shows. */
  select(token) {
    this.selected = token;
    this.overview.maps.forEach((map, i) => {
      this.maps[i].setAttribute("aria-selected", map.token === token);
      this.maps[i].tabIndex = map.token === token ? 0 : -1;
    });
    if (!this.overview.maps.some((map) => map.token === token)) this.maps[0].tabIndex = 0;
    this.draw();
  }

  draw(lit = this.selected) {
    const from = this.element.getBoundingClientRect();
    if (!from.width) return;
    this.lines.setAttribute("viewBox", `0 0 ${from.width} ${from.height}`);
    const paths = [];
    this.overview.programs.forEach((program, p) => {
      this.overview.maps.forEach((map, m) => {
        if (!program.maps.includes(map.token)) return;
        const a = this.programs[p].getBoundingClientRect();
        const b = this.maps[m].getBoundingClientRect();
        const [x1, y1] = [a.right - from.left + 2, a.top + a.height / 2 - from.top];
        const [x2, y2] = [b.left - from.left - 3, b.top + b.height / 2 - from.top];
        const bend = Math.max(18, (x2 - x1) / 2);
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("d", `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend - 6} ${y2} ${x2 - 6} ${y2} m0 -4 l6 4 l-6 4`);
        if (map.token === lit) path.setAttribute("class", "bx-lit");
        paths.push(path);
      });
    });
    paths.sort((one, other) => one.classList.length - other.classList.length); // lit ones on top
    this.lines.replaceChildren(...paths);
  }

  close() {
    this.watch.disconnect();
  }
}
