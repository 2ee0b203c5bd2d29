"""The pages of docs/, and their Python run as it stands."""

import re
from pathlib import Path


def text(name):
    return (Path(__file__).parent.parent / "docs" / name).read_text()


def run(name, given):
    """Run every Python block of a page, one after the other; gives how many there are. Their names end up in `given`."""
    blocks = re.findall(r"^```python\n(.*?)^```", text(name), re.M | re.S)
    for block in blocks:
        exec(compile(block, name, "exec"), given)
    return len(blocks)
