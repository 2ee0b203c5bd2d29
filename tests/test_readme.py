"""The README's program is run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent


def test_the_program_in_the_readme(tmp_path):
    text = (TREE / "README.md").read_text()
    [program] = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    assert program.rstrip().splitlines()[-1].startswith('obj.maps["execs"].to_frame()')
    # in a notebook the last line shows itself
    program += '\nframe = obj.maps["execs"].to_frame()\nprint(int(frame.set_index("key").value["bash"]))\nlab.close()\n'
    done = subprocess.run([sys.executable, "-c", program], cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("lab on local: Linux ")
    assert int(last) >= 2  # the shell started date and uname; whoever else called execve meanwhile counts too


def test_every_file_it_links_to_is_there():
    text = (TREE / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    assert len(links) >= 6
    for link in (a or b for a, b in links):
        assert (TREE / link).exists(), link
