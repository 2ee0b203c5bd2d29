"""A mixin for unittest.TestCase."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import LabError
from . import asserts

__unittest = True  # unittest leaves frames of such modules out of its tracebacks

if TYPE_CHECKING:
    from ..lab import Lab
    from ..object import Object


class LabTestCase:
    """A lab for all tests of a class, and the programs loaded anew for each test, so that its maps begin empty.

        class Firewall(LabTestCase, unittest.TestCase):
            source = "firewall.bpf.c"

            def test_drops_udp(self):
                self.assertVerdict("firewall", udp, "XDP_DROP")

    Attributes
    ----------
    source : str or pathlib.Path
        The file, beside the test module or where the tests are started; or C text. None: load in the tests, with ``self.lab.load``.
    variables : dict
        Global variables to set before it is loaded.
    machine : str or None
        The lab machine: "local", "vm:6.12"; None is what `bpflab.Lab` finds, or BPFLAB_MACHINE says.
    lab : Lab
    obj : Object
        What was loaded.
    """

    source: ClassVar[str | Path | None] = None
    variables: ClassVar[dict[str, Any]] = {}
    machine: ClassVar[str | None] = None
    lab: Lab
    obj: Object

    @classmethod
    def setUpClass(cls) -> None:
        from ..lab import Lab

        super().setUpClass()
        cls.lab = Lab(cls.machine, quiet=True)
        cls.addClassCleanup(cls.lab.close)

    def setUp(self) -> None:
        super().setUp()
        if self.source is not None:
            self.obj = self.lab.load(_found(self.source, type(self)), **self.variables)
            self.addCleanup(self.obj.close)

    def assertVerdict(self, program: str, packet: Any, verdict: str | int, **options):
        """See `bpflab.testing.assert_verdict`; the program by its name."""
        return asserts.assert_verdict(self._program(program), packet, verdict, **options)

    def assertPacket(self, program: str, packet: Any, expected: Any, **options):
        """See `bpflab.testing.assert_packet`; the program by its name."""
        return asserts.assert_packet(self._program(program), packet, expected, **options)

    def assertTable(self, program: str, table: Any, **options):
        """See `bpflab.testing.assert_table`; the program by its name."""
        return asserts.assert_table(self._program(program), table, **options)

    def _program(self, program: Any):
        if not isinstance(program, str):
            return program
        if not hasattr(self, "obj"):
            raise LabError(f"there is nothing to take program '{program}' from; set source = 'file.bpf.c' in {type(self).__name__}")
        return self.obj.programs[program]


def _found(source: str | Path, case: type) -> str | Path:
    """A file beside the module of the tests, if there is one of that name."""
    import sys

    if isinstance(source, str) and "\n" in source:
        return source
    module = sys.modules.get(case.__module__)
    beside = Path(getattr(module, "__file__", None) or ".").resolve().parent / source
    return beside if beside.exists() else source
