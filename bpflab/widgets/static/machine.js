// What the stepper, the pipeline and the control-flow graph share.

/** An element: attributes, `on...` listeners, and children (nodes, texts; null is left out). */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The frame of a widget; keys typed in it are not JupyterLab's shortcuts. */
function frame(name, label, ...children) {
  return h("section", { class: `bpflab-machine bpflab-${name}`, "aria-label": label, "data-lm-suppress-shortcuts": "true" }, ...children);
}

/** Scrolls `box`, and nothing else of the page, until `element` is seen. */
function reveal(box, element) {
  if (!element) return;
  const outer = box.getBoundingClientRect();
  const inner = element.getBoundingClientRect();
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top + outer.height / 3;
  else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom + outer.height / 3;
}

/** Lets Enter and Space do what a click does. */
function clickable(element, action) {
  element.tabIndex = 0;
  element.addEventListener("click", action);
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    action(event);
  });
  return element;
}
