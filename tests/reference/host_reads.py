"""Finds on a CPU the operators that would make the host wait for a GPU."""

from torch.utils._python_dispatch import TorchDispatchMode


class ForbidHostReads(TorchDispatchMode):
    """Fails on operators that make the host wait for a value of the device."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal.default")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if any(forbidden in name for forbidden in self.FORBIDDEN):
            raise AssertionError(f"{name} asks the device for a value inside the search")
        return func(*args, **(kwargs or {}))
