"""Registers and stack slots in words, as kernels of 5.4 to 7.3 print them."""

from __future__ import annotations

import pytest

from bpflab.verifier import states


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("R2", "pkt(r=34)", "r2 is a packet pointer with 34 bytes proved"),
        ("R2", "pkt(off=14,r=34)", "r2 is a packet pointer at byte 14, with 34 bytes proved"),
        ("R2", "pkt(id=0,off=0,r=34,imm=0)", "r2 is a packet pointer with 34 bytes proved"),
        ("R2", "pkt(off=14,r=0)", "r2 is a packet pointer at byte 14, no byte of it proved"),
        ("R3", "pkt_end()", "r3 is the end of the packet"),
        ("R1", "ctx()", "r1 is the context"),
        ("R1", "ctx(off=8,imm=0)", "r1 is the context at byte 8"),
        ("R10", "fp0", "r10 is the frame pointer"),
        ("R2", "fp-8", "r2 is a pointer to the stack at fp-8"),
        (
            "R0",
            "map_value_or_null(id=1,map=counts,ks=4,vs=8)",
            "r0 is a pointer to a value of counts (8 bytes), or NULL: not compared yet",
        ),
        ("R0", "map_value(map=counts,ks=4,vs=8,off=4)", "r0 is a pointer to a value of counts (8 bytes) at byte 4"),
        ("R1", "map_ptr(map=counts,ks=4,vs=8)", "r1 is the map counts"),
        ("R1", "map_ptr(off=0,ks=4,vs=8,imm=0)", "r1 is the map"),
        (
            "R0",
            "ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=4)",
            "r0 is a record of the ring buffer of 4 bytes, or NULL: not compared yet",
        ),
        ("R1", "trusted_ptr_task_struct()", "r1 is a trusted pointer to a struct task_struct"),
        ("R1", "ptr_task_struct(off=8)", "r1 is a pointer to a struct task_struct at byte 8"),
        ("R1", "42", "r1 is the number 42"),
        ("R1", "P42", "r1 is the number 42"),
        ("R1", "inv42", "r1 is the number 42"),
        ("R1", "0xfffffffffffffff0", "r1 is the number -16"),
        ("R1", "scalar()", "r1 is a number, any"),
        ("R1", "inv(id=0)", "r1 is a number, any"),
        ("R1", "scalar(umax=255,var_off=(0x0; 0xff))", "r1 is a number of 8 bits, any"),
        ("R1", "inv(id=0,umax_value=63,var_off=(0x0; 0x3f))", "r1 is a number from 0 to 63"),
        ("R1", "scalar(smin=umin=2,smax=umax=9,var_off=(0x0; 0xf))", "r1 is a number from 2 to 9"),
        ("R1", "scalar(smin=0xffffffffffffff80,smax=127)", "r1 is a number from -128 to 127"),
        ("fp-8", "mmmmmmmm", "fp-8: 8 bytes set"),
        ("fp-8", "0000????", "fp-8: 4 bytes zero, 4 never set"),
        ("fp-16", "scalar(umax=255)", "fp-16 keeps a number of 8 bits, any"),
        ("R4", "something_new(x=1)", "r4 is a pointer of type something_new"),
    ],
)
def test_words(name, value, words):
    assert states.describe(name, value) == words


@pytest.mark.parametrize(
    "value, low, high",
    [
        ("7", 7, 7),
        ("scalar(smin=0,smax=umax=0xffff)", 0, 0xFFFF),
        ("scalar(umax=60,var_off=(0x0; 0x3c))", 0, 60),
        ("scalar(smin=-5,smax=9)", -5, 9),
        ("scalar()", None, None),
        ("pkt(r=4)", None, None),
        (None, None, None),
    ],
)
def test_bounds(value, low, high):
    assert states.bounds(value) == (low, high)
