"""A second device with a memory budget, on a CPU: its tensors hold CPU data, count their bytes, and mix with none.

What is rendered on it takes the path of a GPU: weights and latents are moved there, a tensor that was left behind is an
error, and the allocation that exceeds the budget raises `torch.OutOfMemoryError`. Attention is fused, as on a GPU: its
scores are never whole in memory.

It may also compute nothing: then its tensors are torch's meta tensors, which have a size and no numbers, and a copy of
them on the CPU is zero, or true. So networks of true size are counted in seconds.
"""

import functools
import gc
import weakref
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "budget"
_REGISTERED = []  # kernels live as long as their library
COPIES = ("aten::_to_copy", "aten::copy_")


class _BackendModule(_DummyBackendModule):
    """What torch asks of the module of a device, even while it computes on the CPU."""

    def get_rng_state(self, device=None):
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state, device=None):
        pass

    def get_amp_supported_dtype(self):
        return [torch.float16, torch.bfloat16]


@functools.cache
def budget_device():
    """Register the device with torch, once per process, and return it."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_BackendModule())
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    _REGISTERED.append(library)
    return torch.device(NAME, 0)


class Meter:
    """Bytes that are alive on the device, their peak, and the budget."""

    def __init__(self):
        self.budget, self.sizes, self.now, self.peak, self.refused = None, {}, 0, 0, 0
        self.holds = "cpu"  # or "meta"

    def add(self, storage):
        key = storage._cdata
        if key in self.sizes:
            return
        if self.budget is not None and self.now + storage.nbytes() > self.budget:
            gc.collect()
            if self.now + storage.nbytes() > self.budget:
                self.refused += 1
                raise torch.OutOfMemoryError(f"{NAME} out of memory: {storage.nbytes()} bytes more than {self.now}")
        self.sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key)

    def _free(self, key):
        self.now -= self.sizes.pop(key, 0)


METER = Meter()


class BudgetTensor(torch.Tensor):
    """A tensor on the device. `data_` is where its numbers are."""

    @staticmethod
    def __new__(cls, data):
        METER.add(data.untyped_storage())
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            data.shape,
            strides=data.stride(),
            storage_offset=data.storage_offset(),
            dtype=data.dtype,
            device=budget_device(),
        )
        wrapper.data_ = data
        return wrapper

    def __repr__(self):
        return f"BudgetTensor({self.data_})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    format_ = memory_format or torch.contiguous_format
    return BudgetTensor(torch.empty(size, dtype=dtype, memory_format=format_, device=METER.holds))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return BudgetTensor(torch.empty_strided(size, stride, dtype=dtype, device=METER.holds))


def _run(function, args, kwargs):
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    here = [tensor for tensor in given if isinstance(tensor, BudgetTensor)]
    name = function._schema.name
    if here and name not in COPIES and not name.startswith("aten::index"):
        left = [t for t in given if not isinstance(t, BudgetTensor) and t.dim()]
        if left:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found {NAME} and cpu")
    wrappers = {id(tensor.data_): tensor for tensor in here}
    target = kwargs.get("device")
    goes_here = (torch.device(target).type == NAME) if target is not None else bool(here)
    if name == "aten::copy_":
        goes_here = isinstance(args[0], BudgetTensor)
    if target is not None:
        kwargs = {**kwargs, "device": METER.holds if goes_here else "cpu"}
        kwargs.pop("pin_memory", None)
    if METER.holds == "meta" and here and (name == "aten::_local_scalar_dense" or not goes_here):
        return _zero(name, args, kwargs)
    raw_args, raw_kwargs = tree_map(_raw, (args, kwargs))
    output = function(*raw_args, **raw_kwargs)

    def wrapped(leaf):
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if id(leaf) in wrappers:
            return wrappers[id(leaf)]
        return BudgetTensor(leaf) if goes_here else leaf

    return tree_map(wrapped, output)


def _zero(name, args, kwargs):
    """Return what leaves the device while it computes nothing: zero, or true."""
    if name == "aten::_local_scalar_dense":
        return True if args[0].dtype == torch.bool else 0
    if name == "aten::copy_":
        return args[0].zero_()
    dtype = kwargs.get("dtype") or args[0].dtype
    return torch.full(args[0].shape, dtype == torch.bool, dtype=dtype)


def _raw(leaf):
    return leaf.data_ if isinstance(leaf, BudgetTensor) else leaf


def _attended(query, key, value, *args, **kwargs):
    """Attend with fused attention: only the result is allocated on the device."""
    if METER.holds == "meta":
        return query.new_empty(*query.shape[:-1], value.shape[-1])
    kwargs = tree_map(_raw, kwargs)
    return BudgetTensor(F.scaled_dot_product_attention(*tree_map(_raw, (query, key, value, *args)), **kwargs))


class _Literals(TorchFunctionMode):
    """Do what torch does below the dispatcher: tensors of Python numbers on the CPU first, and fused attention."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is F.scaled_dot_product_attention and isinstance(args[0], BudgetTensor):
            return _attended(*args, **kwargs)
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type == NAME:
            return function(*args, **{**kwargs, "device": "cpu"}).to(budget_device())
        if function is torch.Tensor.new_tensor:
            like, data = args
            return torch.tensor(data, dtype=kwargs.get("dtype", like.dtype)).to(kwargs.get("device", like.device))
        if function is torch.Tensor.__getitem__ and isinstance(args[0], BudgetTensor):
            where = args[1] if isinstance(args[1], tuple) else (args[1],)
            where = tuple(torch.tensor(part) if isinstance(part, list) else part for part in where)
            return function(args[0], where)
        return function(*args, **kwargs)


@contextmanager
def memory(budget=None, *, computes=True):
    """Let tensors live on the device inside this context, `budget` bytes of them at most.

    Unless it `computes`, they have no numbers.
    """
    budget_device()
    gc.collect()
    METER.budget, METER.peak, METER.refused, METER.holds = budget, METER.now, 0, "cpu" if computes else "meta"
    try:
        with _Literals():
            yield METER
    finally:
        METER.budget, METER.holds = None, "cpu"
