"""Maps by descriptor: create, read, write, in ones and in bulk (bpf(2), kernel/bpf/syscall.c)."""

import ctypes
import errno
import os
import struct

from . import bulk, planes
from .netns import in_netns
from .serve import quick
from .syscalls import (
    ENOTSUPP,
    MAP_CREATE,
    MAP_DELETE_BATCH,
    MAP_DELETE_ELEM,
    MAP_FREEZE,
    MAP_GET_FD_BY_ID,
    MAP_GET_NEXT_KEY,
    MAP_LOOKUP_AND_DELETE_BATCH,
    MAP_LOOKUP_AND_DELETE_ELEM,
    MAP_LOOKUP_BATCH,
    MAP_LOOKUP_ELEM,
    MAP_UPDATE_BATCH,
    MAP_UPDATE_ELEM,
    OBJ_GET,
    OBJ_PIN,
    Attr,
    bpf,
    btf_bytes,
    btf_load,
    info,
)

_NO_BATCH = (errno.EINVAL, errno.ENOTSUP, ENOTSUPP)


def create(spec):
    """Create a map.

    Parameters
    ----------
    spec : dict
        `type` (number), `key_size`, `value_size`, `max_entries`, `flags`, `name`, and where wanted `inner_fd`,
        `map_extra`, `btf` (bytes) with `btf_key_type_id` and `btf_value_type_id`, `btf_vmlinux_value_type_id`.

    Returns
    -------
    dict
        As `describe` gives it.
    """
    btf = spec.get("btf")
    btf_fd = btf_load(btf) if btf else 0
    try:
        # union bpf_attr, BPF_MAP_CREATE: up to map_extra
        attr = Attr(
            "5III16sIIIIIQ",
            spec["type"],
            spec["key_size"],
            spec["value_size"],
            spec["max_entries"],
            spec.get("flags", 0),
            spec.get("inner_fd", 0),
            0,
            spec.get("name", "").encode()[:15],
            0,
            btf_fd,
            spec.get("btf_key_type_id", 0),
            spec.get("btf_value_type_id", 0),
            spec.get("btf_vmlinux_value_type_id", 0),
            spec.get("map_extra", 0),
        )
        return describe(bpf(MAP_CREATE, attr))
    finally:
        if btf_fd:
            os.close(btf_fd)


@quick
def describe(fd):
    """What `struct bpf_map_info` and fdinfo say of a map."""
    raw = info(fd, 88)
    kind, number, key_size, value_size, max_entries, flags, name = struct.unpack_from("6I16s", raw)
    btf_id, key_type, value_type = struct.unpack_from("3I", raw, 64)
    return {
        "fd": fd,
        "type": kind,
        "id": number,
        "key_size": key_size,
        "value_size": value_size,
        "max_entries": max_entries,
        "flags": flags,
        "name": name.split(b"\0")[0].decode(errors="replace"),
        "btf_id": btf_id,
        "btf_key_type_id": key_type,
        "btf_value_type_id": value_type,
        "map_extra": struct.unpack_from("Q", raw, 80)[0],
        "frozen": _fdinfo(fd, "frozen") == "1",
    }


def _fdinfo(fd, field):
    with open(f"/proc/self/fdinfo/{fd}") as file:
        for line in file:
            if line.startswith(field + ":"):
                return line.split(":", 1)[1].strip()
    return None


def memory(fd):
    """Bytes of kernel memory that the map is charged for (fdinfo, `memlock`)."""
    return int(_fdinfo(fd, "memlock") or 0)


btf = btf_bytes


@quick
def lookup(fd, key, value_size, flags=0):
    """Value of a key, or None."""
    value = ctypes.create_string_buffer(value_size)
    buffer = ctypes.create_string_buffer(key, len(key) or 1)
    attr = Attr("IQQQ", fd, ctypes.addressof(buffer), ctypes.addressof(value), flags)
    try:
        bpf(MAP_LOOKUP_ELEM, attr)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


@quick
def update(fd, key, value, flags=0):
    buffers = ctypes.create_string_buffer(key, len(key) or 1), ctypes.create_string_buffer(value, len(value) or 1)
    # queues, stacks and bloom filters insist on a null key
    address = ctypes.addressof(buffers[0]) if key else 0
    bpf(MAP_UPDATE_ELEM, Attr("IQQQ", fd, address, ctypes.addressof(buffers[1]), flags))


def update_in(netns, fd, key, value, flags=0):
    """Update from inside a network namespace: a devmap takes interface numbers of the caller's."""
    in_netns(netns, update, fd, key, value, flags)


@quick
def delete(fd, key):
    """Delete a key; False when it was not there."""
    buffer = ctypes.create_string_buffer(key, len(key) or 1)
    try:
        bpf(MAP_DELETE_ELEM, Attr("IQ", fd, ctypes.addressof(buffer)))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


@quick
def take(fd, key, value_size):
    """Look up and delete in one step; None when there is nothing."""
    value = ctypes.create_string_buffer(value_size)
    buffer = ctypes.create_string_buffer(key, len(key) or 1)
    address = ctypes.addressof(buffer) if key else 0
    try:
        bpf(MAP_LOOKUP_AND_DELETE_ELEM, Attr("IQQQ", fd, address, ctypes.addressof(value), 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


@quick
def peek(fd, key, value_size):
    """The element a queue or stack would hand out next (a lookup with no key), or a bloom filter's answer."""
    value = ctypes.create_string_buffer(key, value_size) if key else ctypes.create_string_buffer(value_size)
    try:
        bpf(MAP_LOOKUP_ELEM, Attr("IQQQ", fd, 0, ctypes.addressof(value), 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


@quick
def next_key(fd, key, key_size):
    """The key after `key` (b"": the first), or None at the end."""
    out = ctypes.create_string_buffer(key_size)
    buffer = ctypes.create_string_buffer(key, len(key) or 1)
    address = ctypes.addressof(buffer) if key else 0
    try:
        bpf(MAP_GET_NEXT_KEY, Attr("IQQ", fd, address, ctypes.addressof(out)))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return out.raw


def read(fd, key_size, value_size, capacity, target, remove=False):
    """All entries, keys packed together, then values.

    Parameters
    ----------
    value_size : int
        As the kernel copies it: rounded up to 8 and times the CPUs for per-CPU maps.
    capacity : int
        Entries there can be.
    target : str or None
        Where the notebook wants them, see `bulk.open_target`.
    remove : bool
        Delete what was read (BPF_MAP_LOOKUP_AND_DELETE_BATCH).

    Returns
    -------
    dict
        `count`; `values_at` (offset of the first value); `batch` (False: the kernel has no batch command for this
        type, entries were read one by one); `keys` and `values` when the target could not be used: bytes, or what
        `planes.pack` made of them.
    """
    with bulk.open_target(target, capacity * (key_size + value_size)) as area:
        values_at = capacity * key_size
        try:
            count = _batch(fd, key_size, area.address, area.address + values_at, value_size, capacity, remove)
            batched = True
        except OSError as error:
            if error.errno not in _NO_BATCH:
                raise
            count = _one_by_one(fd, key_size, area.address, area.address + values_at, value_size, capacity, remove)
            batched = False
        reply = {"count": count, "values_at": values_at, "batch": batched}
        if area.view is not None:
            for name, at, size in (("keys", 0, key_size), ("values", values_at, value_size)):
                columns = planes.pack(area.memory, at, count, size)
                reply[name] = bytes(area.view[at : at + count * size]) if columns is None else columns
        return reply


def _batch(fd, key_size, keys, values, value_size, capacity, remove):
    command = MAP_LOOKUP_AND_DELETE_BATCH if remove else MAP_LOOKUP_BATCH
    cursor = ctypes.create_string_buffer(max(key_size, 8))
    # struct { in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags } batch
    attr = Attr("QQQQIIQQ", 0, ctypes.addressof(cursor), keys, values, capacity, fd, 0, 0)
    done = 0
    while done < capacity:
        attr.set("QQI", 16, keys + done * key_size, values + done * value_size, capacity - done)
        try:
            bpf(command, attr)
        except OSError as error:
            if error.errno == errno.ENOENT:  # the end was reached; count is what this call copied
                return done + attr.get("I", 32)
            if error.errno == errno.ENOSPC and attr.get("I", 32):
                pass  # a bucket did not fit behind what was copied; go on behind it
            elif error.errno == errno.ENOSPC:
                return done  # the map grew beyond its capacity while it was read: what fits is what there is room for
            else:
                raise
        done += attr.get("I", 32)
        attr.set("Q", 0, ctypes.addressof(cursor))
    return done


def _one_by_one(fd, key_size, keys, values, value_size, capacity, remove):
    next_attr = Attr("IQQ", fd, 0, 0)
    look_attr = Attr("IQQQ", fd, 0, 0, 0)
    at = 0
    following = ctypes.create_string_buffer(key_size)
    previous = ctypes.create_string_buffer(key_size)
    while at < capacity:
        next_attr.set("QQ", 8, ctypes.addressof(previous) if at or next_attr.get("Q", 8) else 0, ctypes.addressof(following))
        try:
            bpf(MAP_GET_NEXT_KEY, next_attr)
        except OSError as error:
            if error.errno == errno.ENOENT:
                break
            raise
        ctypes.memmove(keys + at * key_size, following, key_size)
        look_attr.set("QQ", 8, ctypes.addressof(following), values + at * value_size)
        next_attr.set("Q", 8, ctypes.addressof(previous))
        ctypes.memmove(previous, following, key_size)
        try:
            bpf(MAP_LOOKUP_ELEM, look_attr)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):  # gone meanwhile, or a slot that holds nothing
                continue
            raise
        at += 1
    if remove:
        key = Attr("IQ", fd, 0)
        for i in range(at):
            key.set("Q", 8, keys + i * key_size)
            try:
                bpf(MAP_DELETE_ELEM, key)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
    return at


def write(fd, keys, values, count, flags=0):
    """Write `count` entries; returns how many were, and the error that stopped it, as (count, errno).

    Batch where the type has it, else one by one.
    """
    key_buffer = ctypes.create_string_buffer(keys, len(keys) or 1)
    value_buffer = ctypes.create_string_buffer(values, len(values) or 1)
    address = ctypes.addressof(key_buffer), ctypes.addressof(value_buffer)
    attr = Attr("QQQQIIQQ", 0, 0, *address, count, fd, flags, 0)
    try:
        bpf(MAP_UPDATE_BATCH, attr)
        return count, 0
    except OSError as error:
        if error.errno not in _NO_BATCH:
            done = attr.get("I", 32)
            return (done if done < count else 0), error.errno  # what was refused as a whole leaves the count as it was
    one = Attr("IQQQ", fd, 0, 0, flags)
    key_size, value_size = len(keys) // count, len(values) // count
    for i in range(count):
        one.set("QQ", 8, address[0] + i * key_size, address[1] + i * value_size)
        try:
            bpf(MAP_UPDATE_ELEM, one)
        except OSError as error:
            return i, error.errno
    return count, 0


def clear(fd, keys, count):
    """Delete `count` keys; those already gone are no error. Returns how many were deleted."""
    buffer = ctypes.create_string_buffer(keys, len(keys) or 1)
    address = ctypes.addressof(buffer)
    size = len(keys) // count
    attr = Attr("QQQQIIQQ", 0, 0, address, 0, count, fd, 0, 0)
    done = 0
    try:
        bpf(MAP_DELETE_BATCH, attr)
        return count
    except OSError as error:
        if error.errno not in (*_NO_BATCH, errno.ENOENT):
            raise
        done = attr.get("I", 32) if error.errno == errno.ENOENT else 0
    one = Attr("IQ", fd, 0)
    deleted = done
    for i in range(done, count):
        one.set("Q", 8, address + i * size)
        try:
            bpf(MAP_DELETE_ELEM, one)
            deleted += 1
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
    return deleted


@quick
def freeze(fd):
    bpf(MAP_FREEZE, Attr("I", fd))


@quick
def by_id(number):
    """Open a map by the kernel's id."""
    return describe(bpf(MAP_GET_FD_BY_ID, Attr("I", number)))


@quick
def pin(fd, path):
    """Pin a map, program or link (any descriptor) in the lab's own bpffs."""
    name = ctypes.create_string_buffer(path.encode())
    bpf(OBJ_PIN, Attr("QI", ctypes.addressof(name), fd))


@quick
def pinned(path):
    """Open what is pinned at a path; the caller must know that it is a map."""
    name = ctypes.create_string_buffer(path.encode())
    fd = bpf(OBJ_GET, Attr("QI", ctypes.addressof(name), 0))
    target = os.readlink(f"/proc/self/fd/{fd}")
    if target != "anon_inode:bpf-map":
        os.close(fd)
        raise OSError(errno.EINVAL, f"{path} holds {target.removeprefix('anon_inode:')}, not a map")
    return describe(fd)


@quick
def unpin(path):
    os.unlink(path)


@quick
def close(fd):
    os.close(fd)
