"""Walking through a pickle without obeying it, to see that it asks for no more memory than it fills."""

import mmap
import pickletools
import re
from itertools import count

OPCODES = {op.name: ord(op.code) for op in pickletools.opcodes}
COUNTED = {  # an argument behind its length, itself of so many bytes
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
SIZES = [-1] * 256  # of each instruction with its argument, where that is fixed and harmless
for _op in pickletools.opcodes:
    if _op.arg is None or _op.arg.n >= 0:
        SIZES[ord(_op.code)] = 1 + (_op.arg.n if _op.arg else 0)
for _name in ("STOP", "FRAME", "LONG_BINPUT"):
    SIZES[OPCODES[_name]] = -1
PREFIXES = {ord(op.code): COUNTED[op.arg.n] for op in pickletools.opcodes if op.arg and op.arg.n in COUNTED}
LINE = re.compile(rb"[^\n]*\n")
LINES = {ord(op.code): 1 for op in pickletools.opcodes if op.arg and op.arg.n == pickletools.UP_TO_NEWLINE}
LINES |= {OPCODES["GLOBAL"]: 2, OPCODES["INST"]: 2}


def check_sizes(content: bytes | memoryview | mmap.mmap, position: int) -> None:
    """Look at the pickle that begins at ``position``.

    Raises ValueError if its unpickler would reserve memory for nothing: for text, bytes or a frame longer
    than the rest, or a table of few entries with high numbers; also for what is no instruction. Raises
    IndexError if it does not end.
    """
    for num_instructions in count(1):
        code = content[position]
        size = SIZES[code]
        if size > 0:
            position += size
        elif code == OPCODES["STOP"]:
            return
        else:
            position = _behind(content, position + 1, code, num_instructions)


def _behind(content: bytes | memoryview | mmap.mmap, position: int, code: int, num_instructions: int) -> int:
    """Where the argument that begins at ``position`` ends."""
    if code in PREFIXES:
        start = position + PREFIXES[code]
        return start + _fitting(int.from_bytes(content[position:start], "little"), len(content) - start)
    if code == OPCODES["FRAME"]:
        _fitting(int.from_bytes(content[position : position + 8], "little"), len(content) - position - 8)
        return position + 8
    if code == OPCODES["LONG_BINPUT"]:
        _entry(int.from_bytes(content[position : position + 4], "little"), num_instructions)
        return position + 4
    if code not in LINES:
        raise ValueError(f"byte {code} is no instruction of a pickle")
    end = position
    for _ in range(LINES[code]):
        line = LINE.match(content, end)
        if line is None:
            raise IndexError("a line does not end")
        end = line.end()
    if code == OPCODES["PUT"]:
        _entry(int(content[position:end]), num_instructions)
    return end


def _fitting(length: int, rest: int) -> int:
    if length > rest:
        raise ValueError(f"{length} bytes announced, {rest} are left")
    return length


def _entry(number: int, num_instructions: int) -> None:
    if number > num_instructions:
        raise ValueError(f"entry {number} of a table after {num_instructions} instructions")
