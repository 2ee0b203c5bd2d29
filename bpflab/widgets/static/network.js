// A network. The picture comes drawn; this shows it, and says now and then that somebody looks.

const EVERY_MS = 4000;

export default {
  render({ model, el }) {
    const root = document.createElement("section");
    root.className = "bpflab-net";
    root.setAttribute("aria-label", "network");
    const area = document.createElement("div");
    const note = document.createElement("p");
    note.className = "bn-note";
    note.setAttribute("role", "status");
    root.append(area, note);
    el.append(root);
    const draw = () => {
      const left = root.scrollLeft;
      area.innerHTML = model.get("_svg");
      root.scrollLeft = left;
    };
    const say = () => (note.textContent = model.get("_note"));
    model.on("change:_svg", draw);
    model.on("change:_note", say);
    draw();
    say();
    const here = () => document.visibilityState === "visible" && model.send({ do: "here" });
    here();
    const timer = setInterval(here, EVERY_MS);
    return () => clearInterval(timer);
  },
};
