"""Records of one size on their way to another machine: their first bytes together, then their second bytes, and so on.

Most bytes of kernel data are the same in every record (the upper half of a counter), or change slowly (of a time). A
column of the first kind travels as one byte, of the second compressed. Taking bytes with a step is done in C and is
cheap; compressing all of it would, in an emulated machine, take longer than sending it.
"""

import zlib

FEWEST = 256  # records that are worth it
_WIDEST = 1024  # bytes of a record that are worth it
_SAMPLE = 4096  # bytes that tell whether a column can be compressed
_PAYS = _SAMPLE // 4  # to what the sample must shrink: with less to gain, zlib takes longer than ssh


def pack(memory, start, count, stride, first=0, size=None):
    """Bytes `first` to `first + size` of each record, as a list with one bytes object for each.

    The length of that tells what it is: 1, all are this byte; `count`, as they are; else by zlib. None where it would
    gain nothing.

    Parameters
    ----------
    memory : mmap.mmap
    start : int
        Where the first of `count` records is, which are `stride` bytes apart.
    """
    size = stride if size is None else size
    if count < FEWEST or not size <= _WIDEST:
        return None
    end = start + count * stride
    return [_column(memory[start + i : end : stride]) for i in range(first, first + size)]


def _column(column):
    one, sample = column[:1], column[:_SAMPLE]
    if sample.count(one) == len(sample) and column.count(one) == len(column):
        return one
    if len(sample) == _SAMPLE and len(zlib.compress(sample, 1)) <= _PAYS:
        small = zlib.compress(column, 1)
        if len(small) < len(column):
            return small
    return column
