"""Calls of the Linux kernel that Python has no names for."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 24, 36
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when the *thread* that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def obey_file_modes() -> None:
    """Give up what lets root write to files whose mode forbids it (``CAP_DAC_OVERRIDE``), for good.

    Raises
    ------
    OSError
        When the kernel does not allow it.
    """
    libc = _libc()
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    held = (_Capabilities * 2)()
    if libc.capget(ctypes.byref(header), held) == 0:
        lost = ~(1 << _CAP_DAC_OVERRIDE)
        for kind in ("effective", "permitted", "inheritable"):
            setattr(held[0], kind, getattr(held[0], kind) & lost)
        _prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE)
        if libc.capset(ctypes.byref(header), held) == 0:
            return
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends, in place of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
