"""Decoding compressed frames (PS3.5 section 8.2, annex A.4), in several processes where that is worth it.

The decoders hold Python's global lock while they work, so threads gain nothing. Where a series would take
seconds, frames go to helper processes; each is a plain child that reads encoded frames from its standard
input and writes decoded ones to its standard output, and ends when that input does.
"""

from __future__ import annotations

import json
import queue
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicomnode.errors import PixelDataError

# The quickest of the decoders that may be installed; the others are asked where it fails.
_QUICKEST: Final = {
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), "pylibjpeg"),
    RLELossless: "pylibjpeg",
}
_WORTH_HELPERS: Final = 2.0
"""Seconds that the rest would take in this process, from which on helpers are worth their start."""
_NO_DECODER: Final = "; no decoder for it is installed: pip install 'dicomnode-host[codecs]'"
_HEADER: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One compressed frame and what its decoder has to know.

    Parameters
    ----------
    name : str
        What messages call the image.
    transfer_syntax : str
        How it is compressed.
    options : dict of str to object
        The Image Pixel module in pydicom's words; plain data.
    data : bytes
        The frame.
    """

    name: str
    transfer_syntax: str
    options: dict[str, Any]
    data: bytes


def encoded_frames(image: Dataset, transfer_syntax: UID, name: str) -> Iterator[EncodedFrame]:
    """Yield the compressed frames of an image.

    Parameters
    ----------
    image : Dataset
        With encapsulated Pixel Data.
    transfer_syntax : UID
        Its transfer syntax.
    name : str
        What messages call it.

    Raises
    ------
    PixelDataError
        When there is no decoder, or the fragments cannot be told apart.
    """
    _decoder(transfer_syntax, name)
    options = as_pixel_options(image)
    offsets = options.pop("extended_offsets", None)
    count = options["number_of_frames"]
    options = {key: _plain(value) for key, value in options.items()}
    options |= {"number_of_frames": 1, "pixel_keyword": "PixelData"}
    options.setdefault("pixel_representation", 0)
    try:
        for frame in generate_frames(image.PixelData, number_of_frames=count, extended_offsets=offsets):
            yield EncodedFrame(name, str(transfer_syntax), options, frame)
    except (ValueError, struct.error) as error:
        raise PixelDataError(
            f"{name}: the frames of its Pixel Data cannot be found: {_line(error)}"
        ) from error


def decode(frame: EncodedFrame) -> NDArray[Any]:
    """Decode a frame in this process.

    Parameters
    ----------
    frame : EncodedFrame
        The frame.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, 3)
        Stored values; YBR is converted to RGB.

    Raises
    ------
    PixelDataError
        When there is no decoder, or none can decode it.
    """
    syntax = UID(frame.transfer_syntax)
    decoder = _decoder(syntax, frame.name)
    quickest = _QUICKEST.get(syntax)
    if quickest in decoder.available_plugins:
        with suppress(Exception):  # the others are tried next
            return _decode(decoder, frame, quickest)
    try:
        return _decode(decoder, frame, "")
    except Exception as error:
        advice = "" if decoder.available_plugins else _NO_DECODER
        raise PixelDataError(
            f"{frame.name}: its {frame.options.get('photometric_interpretation')} pixels in {syntax.name}"
            f" cannot be decoded: {_line(error)}{advice}"
        ) from error


def _decoder(syntax: UID, name: str) -> Decoder:
    try:
        return get_decoder(syntax)
    except NotImplementedError as error:
        raise PixelDataError(f"{name}: Pixel Data in {syntax.name} cannot be decoded here") from error


def _decode(decoder: Decoder, frame: EncodedFrame, plugin: str) -> NDArray[Any]:
    data = encapsulate([frame.data])
    array, _ = decoder.as_array(data, decoding_plugin=plugin, **frame.options)
    return array


def decode_all(
    frames: Iterable[tuple[EncodedFrame, Callable[[NDArray[Any]], None]]], count: int, workers: int
) -> None:
    """Decode frames, each into its place, in helper processes if that is worth it.

    Parameters
    ----------
    frames : iterable of (EncodedFrame, callable)
        Each with what takes its array; called in any order, perhaps from several threads.
    count : int
        How many there are.
    workers : int
        How many processes may work; 1 for this one only.

    Raises
    ------
    PixelDataError
        When a frame cannot be decoded.
    """
    rest = iter(frames)
    for done, (frame, take) in enumerate(rest, 1):
        started = time.monotonic()
        take(decode(frame))
        elapsed = time.monotonic() - started
        if workers > 1 and elapsed * (count - done) > _WORTH_HELPERS:
            _decode_in_helpers(rest, min(workers, count - done))
            return


def _decode_in_helpers(
    frames: Iterator[tuple[EncodedFrame, Callable[[NDArray[Any]], None]]], workers: int
) -> None:
    """Hand frames out to helpers; each has a thread here that waits for it."""
    lock, faults = threading.Lock(), queue.SimpleQueue[BaseException]()

    def attend(helper: _Helper) -> None:
        try:
            while faults.empty():
                with lock:
                    item = next(frames, None)
                if item is None:
                    return
                frame, take = item
                take(helper.decode(frame))
        except BaseException as error:
            faults.put(error)

    with ExitStack() as stack:
        helpers = [stack.enter_context(_Helper()) for _ in range(workers)]
        threads = [threading.Thread(target=attend, args=(helper,), name="decoding") for helper in helpers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if not faults.empty():
        raise faults.get()


class _Helper:
    """A child process that decodes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from dicomnode.dicom.reading.decoding import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> _Helper:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        self._process.kill()  # it has nothing to lose
        if self._process.stdout:
            self._process.stdout.close()
        self._process.wait()

    def decode(self, frame: EncodedFrame) -> NDArray[Any]:
        """Have a frame decoded."""
        source, sink = self._process.stdout, self._process.stdin
        if source is None or sink is None:
            raise PixelDataError(f"{frame.name}: the helper that decodes has no pipes")
        about = {"name": frame.name, "transfer_syntax": frame.transfer_syntax, "options": frame.options}
        try:
            _send(sink, about, frame.data)
            answer, data = _receive(source)
        except (OSError, EOFError) as error:
            raise PixelDataError(
                f"{frame.name}: the process that decoded it ended without an answer, status"
                f" {self._process.poll()}"
            ) from error
        if "fault" in answer:
            raise PixelDataError(answer["fault"])
        return np.frombuffer(data, np.dtype(answer["dtype"])).reshape(answer["shape"])


def serve() -> None:
    """Be a helper: decode what comes on standard input until it ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever a decoder prints must not get between the frames
    while True:
        try:
            about, data = _receive(source)
        except EOFError:
            return
        try:
            array = np.ascontiguousarray(decode(EncodedFrame(**about, data=bytes(data))))
        except PixelDataError as error:
            _send(sink, {"fault": str(error)}, b"")
            continue
        _send(sink, {"dtype": array.dtype.str, "shape": array.shape}, array.data.cast("B"))


def _send(sink: IO[bytes], about: dict[str, Any], data: bytes | memoryview) -> None:
    header = json.dumps(about).encode()
    sink.write(_HEADER.pack(len(header), len(data)) + header)
    sink.write(data)
    sink.flush()


def _receive(source: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    lengths = source.read(_HEADER.size)
    if len(lengths) < _HEADER.size:
        raise EOFError
    header_length, length = _HEADER.unpack(lengths)
    header, data = source.read(header_length), source.read(length)
    if len(data) < length:
        raise EOFError
    return json.loads(header), data


def _plain(value: Any) -> Any:
    """Return a value of a dataset as plain data."""
    return int(value) if isinstance(value, int) else str(value) if isinstance(value, str) else value


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


__all__ = ["EncodedFrame", "decode", "decode_all", "encoded_frames", "serve"]
