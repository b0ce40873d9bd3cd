"""Interpret the opcodes of a pickle without importing or calling what it names.

Tensors become records of their storage, size and strides. Other objects become inert `PickledObject`s.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from animdiff_cli.weights.pickle_objects import (
    INERT_BUILTINS,
    INERT_PACKAGES,
    CodeError,
    Global,
    PickledObject,
    PickleError,
    StridedTensor,
    call_global,
    dictionary_key,
    persistent_object,
)

#: far above real files: a tensor takes about 25 opcodes
MAX_OPCODES = 1_000_000
MAX_BYTES = 8 << 20
MAX_PROTOCOL = 5
_MARK = object()


def interpret(stream: bytes, id_length: int = 5) -> tuple[object, int]:
    """Interpret one pickle. Returns its value, and the number of bytes it takes.

    `id_length`: fields of the persistent id of a storage, 5 in zip files and 6 in legacy ones. Keys of dictionaries
    become strings. Raises `PickleError` or `CodeError`.
    """
    machine = _Machine(stream, id_length)
    return machine.run(), machine.place


class _Machine:
    def __init__(self, stream: bytes, id_length: int) -> None:
        self.stream, self.place, self.id_length = stream, 0, id_length
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(MAX_OPCODES):
            opcode = self.take(1)
            if opcode == b".":
                return self.pop()
            act = _ACTIONS.get(opcode)
            if act is None:
                raise PickleError(f"unknown opcode {opcode!r}")
            act(self)
        raise PickleError(f"more than {MAX_OPCODES} opcodes")

    def take(self, count: int) -> bytes:
        taken = self.stream[self.place : self.place + count]
        if len(taken) < count:
            raise PickleError("it ends within an object")
        self.place += count
        return taken

    def protocol(self) -> None:
        if self.take(1)[0] > MAX_PROTOCOL:
            raise PickleError("a later pickle protocol")

    def number(self, layout: str) -> int:
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def line(self) -> str:
        end = self.stream.find(b"\n", self.place)
        if end < 0:
            raise PickleError("it ends within a name")
        line = self.stream[self.place : end]
        self.place = end + 1
        return _decoded(line)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleError("it takes a value from an empty stack")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                values = self.stack[place + 1 :]
                del self.stack[place:]
                return values
        raise PickleError("it has no mark")

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, PickledObject):
            raise PickleError("it appends to what is not a list")

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if len(values) % 2:
            raise PickleError("a key has no value")
        if isinstance(target, dict):
            target.update((dictionary_key(key), value) for key, value in zip(values[::2], values[1::2], strict=True))
        elif not isinstance(target, PickledObject):
            raise PickleError("it adds items to what is not a dictionary")

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise PickleError("it refers to an object that is not there")
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, PickledObject) and not isinstance(state, dict):
            raise PickleError("the state of an object is not a dictionary")
        parameters = state.get("_parameters") if isinstance(state, dict) else None
        if isinstance(target, PickledObject) and isinstance(parameters, dict):
            target.entries = parameters

    def persistent(self) -> None:
        self.push(persistent_object(self.pop(), self.id_length))

    def named(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("a class has no name")
        package = module.partition(".")[0]
        is_builtin = module in ("builtins", "__builtin__")
        if name not in INERT_BUILTINS if is_builtin else package not in INERT_PACKAGES:
            raise CodeError(f"{module}.{name}"[:120])
        self.push(Global(module, name))

    def stack_global(self) -> None:
        name = self.pop()
        self.named(self.pop(), name)

    def call(self, function: object, args: object) -> None:
        if not isinstance(function, Global) or type(args) is not tuple:  # a `Global` is a tuple too
            raise PickleError("it calls what is not a function")
        self.push(call_global(function, args))

    def reduce(self) -> None:
        args = self.pop()
        self.call(self.pop(), args)

    def new(self) -> None:
        self.reduce()
        if isinstance(self.top(), StridedTensor):
            raise PickleError("a tensor is made by what is not a class")

    def new_with_keywords(self) -> None:
        self.pop()
        self.new()

    def instance(self) -> None:
        self.named(self.line(), self.line())
        function = self.pop()
        self.call(function, tuple(self.pop_mark()))

    def instance_on_stack(self) -> None:
        values = self.pop_mark()
        if not values:
            raise PickleError("it calls what is not a function")
        self.call(values[0], tuple(values[1:]))

    def dictionary(self) -> None:
        values = self.pop_mark()
        self.push({})
        self.set_items(values)

    def tuple_of(self, count: int) -> None:
        self.push(tuple(reversed([self.pop() for _ in range(count)])))

    def long(self, layout: str) -> None:
        count = self.number(layout)
        if count > 255:
            raise PickleError("a number is too long")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def text(self, layout: str) -> None:
        self.push(_decoded(self.take(self.number(layout))))

    def data(self, layout: str) -> None:
        self.push(self.take(self.number(layout)))

    def decimal(self, parse: Callable[[str], object]) -> None:
        text = self.line().rstrip("L")
        try:
            self.push(text == "01" if text in ("00", "01") else parse(text if len(text) < 40 else ""))
        except ValueError as error:
            raise PickleError("a number is not readable") from error


def _constant(make: Callable[[], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine.push(make())


def _ignore_items(machine: _Machine) -> None:
    machine.pop_mark()


def _frozen_set(machine: _Machine) -> None:
    machine.pop_mark()
    machine.push(PickledObject("builtins.frozenset"))


def _float(machine: _Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0])


_ACTIONS: Mapping[bytes, Callable[[_Machine], object]] = {
    b"\x80": _Machine.protocol,
    b"\x95": lambda m: m.take(8),  # FRAME
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m.stack.pop() if m.stack else m.pop(),  # POP, also of a mark
    b"1": _ignore_items,  # POP_MARK
    b"2": lambda m: m.push(m.top()),  # DUP
    b"N": _constant(lambda: None),
    b"\x88": _constant(lambda: True),
    b"\x89": _constant(lambda: False),
    b"}": _constant(dict),
    b"]": _constant(list),
    b")": _constant(tuple),
    b"\x8f": _constant(lambda: PickledObject("builtins.set")),
    b"I": lambda m: m.decimal(int),
    b"L": lambda m: m.decimal(int),
    b"F": lambda m: m.decimal(float),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<I"),
    b"G": _float,
    b"S": lambda m: m.push(m.line().strip("'\"")),
    b"V": lambda m: m.push(m.line()),
    b"T": lambda m: m.text("<I"),  # strings of Python 2
    b"U": lambda m: m.text("<B"),
    b"X": lambda m: m.text("<I"),
    b"\x8c": lambda m: m.text("<B"),
    b"\x8d": lambda m: m.text("<Q"),
    b"B": lambda m: m.data("<I"),
    b"C": lambda m: m.data("<B"),
    b"\x8e": lambda m: m.data("<Q"),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_mark()),
    b"l": lambda m: m.push(m.pop_mark()),
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"d": _Machine.dictionary,
    b"s": lambda m: m.set_items(list(reversed([m.pop(), m.pop()]))),
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"\x90": _ignore_items,  # ADDITEMS
    b"\x91": _frozen_set,
    b"g": lambda m: m.get(_index(m.line())),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"p": lambda m: m.put(_index(m.line())),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"c": lambda m: m.named(m.line(), m.line()),
    b"\x93": _Machine.stack_global,
    b"R": _Machine.reduce,
    b"\x81": _Machine.new,  # NEWOBJ
    b"\x92": _Machine.new_with_keywords,  # NEWOBJ_EX
    b"i": _Machine.instance,
    b"o": _Machine.instance_on_stack,
    b"b": _Machine.build,
    b"Q": _Machine.persistent,
}


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise PickleError("a text is not UTF-8") from error


def _index(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise PickleError("it refers to an object that is not there")
    return int(text)
