"""The flame graph in a real JupyterLab: drawn, clicked, searched, walked by keys, saved, in both themes."""

import base64
import json
import re
import xml.etree.ElementTree as ET

import contrast
import nbformat
import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect

FOLDED = {"sh;main;work": 5, "sh;main": 2, "sh;main;rest;deep": 3, "cat;main;work": 1}
SETUP = f"import bpflab as bl\nfolded = {FOLDED}\nprint('ready')"
ROW = 18
# the colour of a point of the canvas
PIXEL = """(canvas, [x, y]) => { const r = canvas.width / canvas.clientWidth;
  return [...canvas.getContext('2d').getImageData(Math.round(x * r), Math.round(y * r), 1, 1).data] }"""


@pytest.fixture(scope="module")
def notebook(open_notebook):
    notebook = open_notebook(SETUP, width=1200)
    notebook.page.get_by_text("ready", exact=True).wait_for()
    return notebook


@pytest.fixture
def draw(notebook):
    """`draw(code)` runs a cell and gives the widget's root."""

    def run(code="g = bl.flamegraph(folded)\ng"):
        root = notebook.run(code).locator(".bpflab-flame")
        expect(root).to_have_attribute("data-drawn", re.compile(r"\d"))
        return root

    yield run
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


def box(root, share, depth, icicle=False):
    """Where in the canvas a point is: at `share` of its width, in the row of a depth."""
    size = root.locator("canvas").bounding_box()
    y = (depth + 0.5) * ROW
    return {"x": size["width"] * share, "y": y if icicle else size["height"] - y}


def click(root, share, depth, **options):
    root.locator("canvas").click(position=box(root, share, depth, **options))


def test_boxes_are_where_their_shares_put_them(draw):
    root = draw()
    assert root.get_attribute("data-boxes") == "8" == root.get_attribute("data-drawn")
    expect(root.get_by_text("11 counts")).to_be_visible()
    canvas = root.locator("canvas")
    # cat has 1 of 11, sh the rest; main's own 2 leave a gap above it
    spots = {(0.5 / 11, 0): True, (6 / 11, 0): True, (6 / 11, 1): True, (2.5 / 11, 3): True, (1.5 / 11, 2): True, (10.5 / 11, 2): False, (6 / 11, 3): False}
    for (share, depth), filled in spots.items():
        at = box(root, share, depth)
        assert (canvas.evaluate(PIXEL, [at["x"], at["y"] - 6])[3] > 0) == filled, (share, depth)


def test_click_zooms_and_zooms_out(draw):
    root = draw()
    expect(root.get_by_role("button", name="Zoom out")).to_be_disabled()
    click(root, 2 / 11, 2)  # rest: 3 of 11, behind cat
    expect(root).to_have_attribute("data-zoomed", "rest")
    click(root, 0.99, 3)  # now as wide as all
    expect(root).to_have_attribute("data-zoomed", "deep")
    click(root, 0.5, 1)  # its callers are still there
    expect(root).to_have_attribute("data-zoomed", "main")
    root.get_by_role("button", name="Zoom out").click()
    expect(root).to_have_attribute("data-zoomed", "")


def test_hover_tells_numbers(draw):
    root = draw()
    root.locator("canvas").hover(position=box(root, 6 / 11, 2))
    tip = root.locator(".bf-tip")
    expect(tip).to_have_text("work · 5 counts, 45.45 % of all; 5 in itself · 50.00 % of its caller")
    expect(root.locator(".bf-said")).to_have_text(tip.inner_text())
    root.locator("h3").hover()
    expect(tip).to_be_hidden()


def test_search_says_what_share_it_matches(draw):
    root = draw()
    search, share = root.get_by_role("searchbox"), root.locator(".bf-share")
    expect(share).to_be_hidden()
    for text, found in (("work", "54.5 %"), ("WORK$", "54.5 %"), ("rest|deep", "27.3 %"), ("main", "100.0 %"), ("nothing", "0.0 %")):
        search.fill(text)
        expect(share).to_have_text(f"matched {found}")
    search.fill("wor(")  # half typed: not a pattern yet
    expect(share).to_have_text("matched 0.0 %")
    expect(search).to_have_class(re.compile("bf-plain"))
    search.fill("cat")
    at = box(root, 0.5 / 11, 0)
    red, green, blue, _ = root.locator("canvas").evaluate(PIXEL, [at["x"], at["y"] - 6])
    assert blue > red > green, "the colour of what is found"
    search.press("Escape")
    expect(share).to_be_hidden()
    assert search.input_value() == ""


def test_keys(draw):
    root = draw()
    canvas, said = root.locator("canvas"), root.locator(".bf-said")
    canvas.focus()
    canvas.press("ArrowUp")
    expect(said).to_have_text(re.compile("^cat"))
    canvas.press("ArrowRight")
    expect(said).to_have_text(re.compile("^sh"))
    canvas.press("ArrowUp")
    canvas.press("ArrowUp")
    expect(said).to_have_text(re.compile("^work · 5"))  # the widest
    canvas.press("ArrowLeft")
    expect(said).to_have_text(re.compile("^rest"))
    canvas.press("Enter")
    expect(root).to_have_attribute("data-zoomed", "rest")
    canvas.press("ArrowDown")
    expect(said).to_have_text(re.compile("^main"))
    canvas.press("Escape")
    expect(root).to_have_attribute("data-zoomed", "")
    canvas.press("/")
    expect(root.get_by_role("searchbox")).to_be_focused()


def test_icicle(draw):
    root = draw()
    button = root.get_by_role("button", name="Icicle")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    click(root, 2 / 11, 2, icicle=True)
    expect(root).to_have_attribute("data-zoomed", "rest")
    canvas = root.locator("canvas")
    canvas.press("ArrowUp")
    expect(root.locator(".bf-said")).to_have_text(re.compile("^main"))


def test_difference(draw):
    root = draw("bl.flamegraph({'a;x': 50, 'a;y': 50}, before={'a;x': 10, 'a;z': 30})")
    expect(root.get_by_text("larger share than before")).to_be_visible()
    at = box(root, 0.75, 1)
    canvas = root.locator("canvas")
    red, _, blue, _ = canvas.evaluate(PIXEL, [at["x"], at["y"] - 6])
    assert red > blue, "y is new"
    canvas.hover(position=box(root, 0.25, 1))
    expect(root.locator(".bf-tip")).to_have_text("x · 50 counts, 50.00 % of all; 50 in itself · before 25.00 %")
    root.get_by_role("button", name="Before").click()  # what has gone has its width again
    red, _, blue, _ = canvas.evaluate(PIXEL, [at["x"], at["y"] - 6])
    assert blue > red, "z is gone"
    canvas.hover(position=box(root, 0.75, 1))
    expect(root.locator(".bf-tip")).to_have_text("z · 0 counts, 0.00 % of all; 0 in itself · before 75.00 %")


def test_files(notebook, draw):
    root = draw()
    with notebook.page.expect_download() as download:
        root.get_by_role("button", name="SVG").click()
    assert download.value.suggested_filename == "flamegraph.svg"
    picture = ET.parse(download.value.path()).getroot()
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}title"))) == 8
    with notebook.page.expect_download() as download:
        root.get_by_role("button", name="speedscope").click()
    assert download.value.suggested_filename == "flamegraph.speedscope.json"
    made = json.loads(download.value.path().read_text())
    assert made["profiles"][0]["endValue"] == 11
    assert made == json.loads(notebook.execute("import json; print(json.dumps(g.to_speedscope()))"))


def test_light_and_dark(notebook, draw):
    root = draw()
    root.get_by_role("searchbox").fill("work")
    contrast.check(notebook, root, (LIGHT, DARK))


def test_narrow_page(notebook, draw):
    root = draw()
    notebook.page.set_viewport_size({"width": 620, "height": 800})
    assert root.evaluate("e => e.scrollWidth <= e.clientWidth")
    expect(root.locator("canvas")).to_be_visible()
    width = root.locator(".bf-area").evaluate("e => e.clientWidth")
    notebook.page.wait_for_function("([e, w]) => e.clientWidth === w", arg=[root.locator("canvas").element_handle(), width])
    click(root, 2 / 11, 2)
    expect(root).to_have_attribute("data-zoomed", "rest")
    notebook.page.set_viewport_size({"width": 1200, "height": 900})


BIG = """
import random
draws = random.Random(7)
big = {}
while len(big) < 50_000:
    path = ["main"]
    for depth in range(draws.randint(8, 30)):
        path.append(f"function_{draws.choice('aaabcd')}{depth}")
    big[";".join(path)] = draws.randint(1, 50)
g = bl.flamegraph(big)
g
"""


def test_50000_stacks(notebook, draw):
    """However many stacks there are, the page gets no element for each, and draws only what can be seen."""
    root = draw(BIG)
    assert int(root.get_attribute("data-boxes")) == int(notebook.execute("len(g.tree.name)")) > 100_000
    assert 100 < int(root.get_attribute("data-drawn")) < 60_000
    assert root.evaluate("e => e.querySelectorAll('*').length") < 60
    root.get_by_role("searchbox").fill("d3$")
    share = float(notebook.execute("print(100 * sum(n for s, n in big.items() if 'function_d3' in s) / sum(big.values()))"))
    expect(root.locator(".bf-share")).to_have_text(f"matched {share:.1f} %")
    root.locator("canvas").focus()
    for _ in range(4):
        root.locator("canvas").press("ArrowUp")
    root.locator("canvas").press("Enter")
    expect(root).to_have_attribute("data-zoomed", re.compile("function_[a-d]2"))


def test_saved_notebook_has_a_picture(notebook, draw):
    draw()
    bundle = json.loads(notebook.execute("import json; print(json.dumps(g._repr_mimebundle_()[0]))"))
    assert bundle["image/svg+xml"].startswith("<svg") and "11 counts" in bundle["text/plain"]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_a_notebook_that_is_not_trusted_shows_the_picture(notebook, draw):
    """What somebody else has run, before the reader runs it: JupyterLab shows neither widgets nor SVG of it, but PNG."""
    draw()
    bundle = json.loads(notebook.execute("import json; print(json.dumps(g._repr_mimebundle_()[0]))"))
    output = nbformat.v4.new_output("execute_result", bundle, execution_count=1)
    cell = nbformat.v4.new_code_cell("bl.flamegraph(stacks)", outputs=[output], execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook.jupyter.root / "of-somebody.ipynb")
    notebook.command("docmanager:open", path="of-somebody.ipynb", kernel={"shouldStart": False})
    image = notebook.page.locator(".jp-OutputArea img[src^='data:image/png']")
    image.wait_for()
    assert image.evaluate("e => e.naturalWidth") == 1200
    notebook.command("application:close")
