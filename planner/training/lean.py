"""A leaner import of torch: what training a plan does not need is left out, by an allow-list for each minor version.

Compiler, exporter, tracer and quantisation come along with `import torch` as Python objects, and eager training uses
none of them. Within `left_out` their modules are found empty: names that torch's own import asks for are placeholders;
any other name, and any use of a placeholder, is a `LeftOutError`. Only a process of ours that trains or measures may
import so, since other programs need what is missing.

The lists hold for the versions that they were tried with. Whatever is unexpected is an error while torch is imported,
and a torch that was half imported cannot be imported again: such a process begins anew and imports torch plainly
(`planner.training.start`).
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

Names = Mapping[str, tuple[str, ...]]
"""By module that is left out, with all that lies below it: the names in it that torch's own import asks for."""


class LeftOutError(AttributeError):
    """Something was used that a lean import leaves out."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was left out when torch was imported, for training does not need it", name=name)


class LeanStartError(Exception):
    """Torch could not be started leanly. It is half imported: this process can only begin anew."""


_COMMON: Names = {
    "torch._decomp": (),
    "torch._export": (),
    "torch._higher_order_ops": ("cond", "while_loop"),
    "torch._lobpcg": ("lobpcg",),
    "torch._meta_registrations": (),
    "torch._prims": (),
    "torch._refs": (),
    "torch._subclasses": (),
    "torch._subclasses.fake_tensor": ("FakeTensor",),
    "torch._subclasses.functional_tensor": ("FunctionalTensorMode",),
    "torch._subclasses.schema_check_mode": ("SchemaCheckMode",),
    "torch.ao": (),
    "torch.compiler": ("is_compiling", "is_dynamo_compiling", "is_exporting"),
    "torch.distributed": ("is_available",),
    "torch.distributed._meta_registrations": (),
    "torch.distributed.autograd": ("is_available",),
    "torch.distributed.rpc": ("is_available",),
    "torch.distributions": (),
    "torch.export": (),
    "torch.func": ("vmap",),
    "torch.fx": (),
    "torch.fx.experimental": (),
    "torch.fx.experimental.proxy_tensor": ("ProxyTorchDispatchMode",),
    "torch.fx.experimental.sym_node": ("DynamicInt",),
    "torch.fx.experimental.symbolic_shapes": ("expect_true", "sym_eq"),
    "torch.fx.operator_schemas": ("_SCHEMA_TO_SIGNATURE_CACHE",),
    "torch.fx.traceback": (),
    "torch.hub": (),
    "torch.masked": (),
    "torch.nested": ("nested_tensor",),
    "torch.nested._internal": (),
    "torch.nested._internal.nested_tensor": ("NestedTensor",),
    "torch.nn.intrinsic": (),
    "torch.nn.parallel.distributed": ("DistributedDataParallel",),
    "torch.nn.qat": (),
    "torch.nn.quantizable": (),
    "torch.nn.quantized": (),
    "torch.optim": (),
    "torch.optim.optimizer": ("Optimizer", "register_optimizer_step_post_hook"),
    "torch.package": ("PackageExporter", "PackageImporter"),
    "torch.package._mangling": ("is_mangled",),
    "torch.quantization": (),
    "torch.quasirandom": (),
    "torch.testing": (),
    "torch.testing._comparison": ("default_tolerances",),
    "torch.utils.data": (),
}

LEFT_OUT: Mapping[str, Names] = {
    "2.13": _COMMON,
    "2.14": {
        **_COMMON,
        "torch._subclasses.fake_tensor": ("FakeTensor", "is_fake_tensor"),
        "torch.distributed.distributed_c10d": ("_register_process_group_opaque_type",),
    },
}
"""By minor version of torch. What is not listed is imported plainly."""


def _no(*_: object) -> bool:
    return False


_ANSWERED: Mapping[str, object] = {
    "_SCHEMA_TO_SIGNATURE_CACHE": frozenset[object](),
    "_register_process_group_opaque_type": _no,
    "expect_true": bool,
    "is_available": _no,
    "is_compiling": _no,
    "is_dynamo_compiling": _no,
    "is_exporting": _no,
    "is_fake_tensor": _no,
    "is_mangled": _no,
    "sym_eq": operator.eq,
}
"""Names that torch uses in eager training as well, and what they are there: nothing is compiled, distributed or
packaged, and sizes are numbers."""


class _Refusing(type):
    """The type of placeholders: they may be named in annotations and have subclasses, and no more."""

    def __call__(cls, *arguments: object, **named: object) -> object:
        raise LeftOutError(f"{cls.__module__}.{cls.__qualname__}")

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):  # Python asks every class for some, and expects to be told there are none
            raise AttributeError(name)
        raise LeftOutError(f"{cls.__module__}.{cls.__qualname__}.{name}")


class _Empty(ModuleType):
    """A module that is left out."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise LeftOutError(f"{self.__name__}.{name}")


class _Placeholders(Loader):
    """Makes modules that hold nothing but placeholders."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        for name in self._names.get(module.__name__, ()):
            placeholder = _Refusing(name, (), {"__module__": module.__name__})
            setattr(module, name, _ANSWERED.get(name, placeholder))


class _Finder(MetaPathFinder):
    """Finds modules that are left out, before anything else looks for them."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._loader = _Placeholders(names)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self._loader, is_package=True) if name in self._names else None


def names_left_out(version: str) -> Names | None:
    """What is left out of a version of torch; None where that is not known."""
    return LEFT_OUT.get(".".join(version.split(".")[:2]))


def torch_version() -> str | None:
    """The version of the torch that would be imported, as its own file says; None where there is none to be read."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    return found[1] if found else None


def _set_up_generators() -> None:
    """What `torch._prims`, which is left out, does when it is imported: without it no generator can be made."""
    core = sys.modules.get("torch._C")
    if core is None or not hasattr(core, "_set_generator_metaclass"):
        return
    if find_spec("torch._custom_class_base") is not None:  # its name from 2.14 on
        core._set_generator_metaclass(import_module("torch._custom_class_base").CustomClassBaseMeta)
    else:
        core._set_generator_metaclass(import_module("torch._opaque_base").OpaqueBaseMeta)


@contextmanager
def left_out(names: Names) -> Iterator[None]:
    """Find `names` empty: in this block all that lies below them too, behind it what was found in it, and `names`."""
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
        for name in names:  # functions of torch import some of them when they are called
            import_module(name)
        _set_up_generators()
    finally:
        sys.meta_path.remove(finder)
