"""ELF files: what is read of them, also of those that are cut or spoilt. Binaries come from anywhere."""

from __future__ import annotations

import lzma
import random
import shutil
import subprocess
from pathlib import Path

import hot
import numpy as np
import pytest

import bpflab as bl
from bpflab.agent import elf
from bpflab.elf import Binary
from bpflab.profiling.symbols import Table


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("elf") / "small"
    subprocess.run(["gcc", *hot.FRAMES.split(), "-x", "c", "-o", path, "-"], input=hot.C, text=True, check=True)
    return path


def read(data: bytes) -> dict[str, int]:
    """Functions and their addresses, by the way that a profile takes."""
    symbols = elf.Symbols(elf.Elf(data), "/nowhere/small", [])
    table = Table(symbols.describe(False) | {"key": [0]})
    assert len(table.addresses(np.array([0, 2**64 - 1, 0x1010], np.uint64))) == 3
    found = {}
    for n in range(len(table.starts)):
        (name,) = symbols.names(int(table.table[n]), [int(table.name[n])])
        found[name] = int(table.starts[n])
    return found


def by_nm(path: Path) -> dict[str, int]:
    lines = (line.split() for line in subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout.splitlines())
    return {line[2]: int(line[0], 16) for line in lines if len(line) == 3 and line[1] in "tT"}


def test_functions_are_those_of_nm(built):
    found, wanted = read(built.read_bytes()), by_nm(built)
    assert set(found) >= {"main", "outer", "alpha", "beta", "burn"}
    assert found.items() <= wanted.items()
    # nm lists every name of an address, we the best one
    assert set(wanted.values()) == set(found.values())


def test_build_id(built):
    said = subprocess.run(["readelf", "-n", built], capture_output=True, text=True, check=True).stdout
    assert elf.Elf(built.read_bytes()).build_id in said and len(elf.Elf(built.read_bytes()).build_id) == 40


def test_small_symbol_table_within(built, tmp_path):
    """.gnu_debugdata: an ELF file of the local functions, packed, in a stripped one."""
    packed, stripped = tmp_path / "packed", tmp_path / "stripped"
    packed.write_bytes(lzma.compress(built.read_bytes()))
    shutil.copy(built, stripped)
    subprocess.run(["strip", stripped], check=True)
    assert "alpha" not in read(stripped.read_bytes())
    subprocess.run(["objcopy", "--add-section", f".gnu_debugdata={packed}", stripped], check=True)
    assert read(stripped.read_bytes()) == read(built.read_bytes())


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(100)])
def test_what_is_no_elf_file(data):
    try:
        assert read(data) == {}
    except elf.BadElf:
        pass


def test_spoilt_files_do_no_harm(built, tmp_path):
    """Bytes changed at random, mostly in the headers and tables, and files that end early."""
    draws = random.Random(13)
    # with every kind of table that is looked at
    rich = tmp_path / "rich"
    (tmp_path / "xz").write_bytes(lzma.compress(built.read_bytes()))
    (tmp_path / "go").write_bytes((0xFFFFFFF1).to_bytes(4, "little") + bytes(200))
    shutil.copy(built, rich)
    subprocess.run(["strip", rich], check=True)
    subprocess.run(["objcopy", "--add-section", f".gnu_debugdata={tmp_path}/xz", "--add-section", f".gopclntab={tmp_path}/go", rich], check=True)
    for whole in (built.read_bytes(), rich.read_bytes()):
        sections = int.from_bytes(whole[40:48], "little")
        for _ in range(400):
            data = bytearray(whole if draws.random() < 0.8 else whole[: draws.randrange(len(whole))])
            for _ in range(draws.randint(1, 12)):
                low, high = draws.choice([(4, 64), (64, 900), (min(sections, len(data) - 1), len(data)), (0, len(data))])
                if low < min(high, len(data)):
                    data[draws.randrange(low, min(high, len(data)))] = draws.choice([0, 1, 0x7F, 0xFF, draws.randrange(256)])
            try:
                read(bytes(data))
            except elf.BadElf:
                continue


def test_names_of_tables_agree_with_addresses(built):
    symbols = elf.Symbols(elf.Elf(built.read_bytes()), str(built), [])
    table = Table(symbols.describe(False) | {"key": [0]})
    starts = by_nm(built)
    at = table.find(np.array([starts["alpha"], starts["alpha"] + 3, starts["main"] + 1], np.uint64))
    assert [symbols.names(0, [int(table.name[n])])[0] for n in at] == ["alpha", "alpha", "main"]


def test_probes_of_spoilt_files_do_no_harm(lab, built, tmp_path):
    """As above by the other way, that of `attach_uprobe` and `lab.events`: an answer, or one of our own errors."""
    draws = random.Random(31)
    whole = built.read_bytes()
    sections = int.from_bytes(whole[40:48], "little")
    refused = 0
    for number in range(150):
        data = bytearray(whole if draws.random() < 0.8 else whole[: draws.randrange(len(whole))])
        for _ in range(draws.randint(1, 12)):
            low, high = draws.choice([(4, 64), (64, 900), (min(sections, len(data) - 1), len(data)), (0, len(data))])
            if low < min(high, len(data)):
                data[draws.randrange(low, min(high, len(data)))] = draws.choice([0, 1, 0x7F, 0xFF, draws.randrange(256)])
        path = tmp_path / str(number)
        path.write_bytes(data)
        try:
            binary = Binary(lab, str(path))
        except bl.ObjectError as error:
            assert "no 64-bit ELF file" in str(error)
            refused += 1
            continue
        assert len(binary.functions) == len(binary.names) and all(one.offset >= 0 for one in binary.functions)
        assert isinstance(binary.usdt, list) and binary.around(0x1000) is None or binary.around(0x1000).offset <= 0x1000
        binary.inlined_into("alpha")
    assert 0 < refused < 150


def test_both_ways_find_the_same_functions(lab, built):
    """A probe's function and a profile's: by one table of symbols, at one address."""
    data = built.read_bytes()
    found, binary = read(data), Binary(lab, str(built))
    code = {name: int(binary.offsets(np.array([start], np.uint64))[0]) for name, start in found.items()}
    assert code.items() <= {one.name: one.offset for one in binary.functions}.items() | {("_start", code.get("_start"))}
    assert {"main", "outer", "alpha", "beta", "burn"} <= set(binary.names)


def test_the_reader_of_a_32_bit_program_is_told(lab, tmp_path):
    path = tmp_path / "old"
    path.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(45 - 7) + bytes(64))
    with pytest.raises(bl.ObjectError, match=r"old is no 64-bit ELF file; give a program"):
        Binary(lab, str(path))
