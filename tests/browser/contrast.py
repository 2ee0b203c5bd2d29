"""Looks for text that is hard to read: WCAG 2.1, 1.4.3, asks for 4.5 to 1. Disabled controls are exempt."""

POOR = """root => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                          return [...canvas.getImageData(0, 0, 1, 1).data] };
  const drawn = e => e.ownerSVGElement;
  const back = element => {
    if (drawn(element)) return rgb(getComputedStyle(element.parentElement.querySelector('rect')).fill);
    for (let e = element; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c }
    return [255, 255, 255] };
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                       return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const poor = new Set();
  for (const element of root.querySelectorAll('*')) {
    if (!element.checkVisibility() || element.matches(':disabled, title')) continue;
    if (![...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const front = getComputedStyle(element)[drawn(element) ? 'fill' : 'color'];
    const [a, b] = [light(rgb(front)), light(back(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.add(`${element.getAttribute('class')}: ${element.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return [...poor] }"""

# controls without a name for those who do not see them
NAMELESS = """root => [...root.querySelectorAll('button, select, input, [role=button]')].filter(
  e => !(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML.slice(0, 80))"""


def check(notebook, root, themes):
    """No poor text and no nameless control, in each theme."""
    for theme in themes:
        notebook.theme(theme)
        assert root.evaluate(POOR) == [], theme
    nameless = root.evaluate(NAMELESS)
    assert not nameless, nameless
    notebook.theme(themes[0])
