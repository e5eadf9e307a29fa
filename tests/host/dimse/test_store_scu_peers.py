"""The sender against DCMTK's storescp."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from certificates import client_context, make_certificate
from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.association_request import NoAcceptedContextError
from dicomnode.host.dimse.store_scu import StoreAssociation
from peer_programs import storescp
from raw_peer import MR
from receiving import dataset_bytes, small_dataset

pytestmark = pytest.mark.peers
EXPLICIT, IMPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """Ten small images: UID to file."""
    files = {}
    for number in range(10):
        dataset = small_dataset(InstanceNumber=number)
        path = tmp_path / f"{number}.dcm"
        dataset.save_as(path)
        files[str(dataset.SOPInstanceUID)] = path
    return files


def association(
    port: int, *syntaxes: str, timeout: float = 10, tls: ssl.SSLContext | None = None
) -> StoreAssociation:
    contexts = [(MR, syntax) for syntax in syntaxes or (EXPLICIT,)]
    host = "localhost" if tls else "127.0.0.1"
    return StoreAssociation(host, port, "STORESCP", "NODE", contexts, timeout=timeout, tls=tls)


@pytest.mark.parametrize("max_pdu", ["4096", "16384", "131072"])
def test_a_series_arrives_as_it_lies(tmp_path: Path, images: dict[str, Path], max_pdu: str) -> None:
    """Every image is stored by storescp byte for byte."""
    received = tmp_path / "stored"
    with storescp(tmp_path, "+B", "--max-pdu", max_pdu) as pacs, association(pacs.port) as opened:
        assert [opened.send(path, MR, uid, EXPLICIT) for uid, path in images.items()] == [0] * 10
    assert sorted(dataset_bytes(path) for path in received.iterdir()) == sorted(
        map(dataset_bytes, images.values())
    )


def test_a_peer_that_takes_implicit_only(tmp_path: Path, images: dict[str, Path]) -> None:
    """DCMTK's storescp +xi gets implicit VR, with the same values."""
    received = tmp_path / "stored"
    with storescp(tmp_path, "+B", "+xi") as pacs, association(pacs.port) as opened:
        assert [opened.send(path, MR, uid, EXPLICIT) for uid, path in images.items()] == [0] * 10
    stored = [pydicom.dcmread(path) for path in received.iterdir()]
    assert {dataset.file_meta.TransferSyntaxUID for dataset in stored} == {IMPLICIT}
    assert {dataset.SOPInstanceUID for dataset in stored} == set(images)
    for dataset in stored:
        assert dataset.PixelData == pydicom.dcmread(images[dataset.SOPInstanceUID]).PixelData


def test_compressed_images(tmp_path: Path) -> None:
    """DCMTK's storescp +xa takes RLE as it lies; without, nothing is sent and the reason is said."""
    path = Path(get_testdata_file("MR_small_RLE.dcm"))
    uid = pydicom.dcmread(path).SOPInstanceUID
    received = tmp_path / "stored"
    with storescp(tmp_path, "+B", "+xa") as pacs, association(pacs.port, RLE) as opened:
        assert opened.send(path, MR, uid, RLE) == 0
    assert [dataset_bytes(each) for each in received.iterdir()] == [dataset_bytes(path)]
    with (
        storescp(tmp_path) as pacs,
        association(pacs.port, RLE, EXPLICIT) as opened,
        pytest.raises(NoAcceptedContextError, match="RLE"),
    ):
        opened.send(path, MR, uid, RLE)


@pytest.mark.parametrize("fault", ["--abort-after", "--abort-during"])
def test_a_peer_that_aborts(tmp_path: Path, images: dict[str, Path], fault: str) -> None:
    """The outcome of an instance whose answer never came is not known."""
    with storescp(tmp_path, fault) as pacs:
        opened = association(pacs.port)
        opened.open()
        uid, path = next(iter(images.items()))
        assert opened.send(path, MR, uid, EXPLICIT) is None
        assert not opened.established


def test_a_peer_that_refuses(tmp_path: Path) -> None:
    """DCMTK's storescp --refuse is an error with its reason."""
    with (
        storescp(tmp_path, "--refuse") as pacs,
        pytest.raises(DeliveryError, match="rejected"),
    ):
        association(pacs.port).open()


@pytest.mark.parametrize("large", [False, True])
def test_a_peer_that_freezes(tmp_path: Path, images: dict[str, Path], large: bool) -> None:
    """A stopped storescp is given up, whether it stops taking bytes or answering."""
    dataset = small_dataset(Rows=4000, Columns=4000, PixelData=bytes(32_000_000))
    dataset.save_as(tmp_path / "large.dcm")
    uid, path = next(iter(images.items()))
    with storescp(tmp_path) as pacs:
        opened = association(pacs.port, timeout=1)
        opened.open()
        assert opened.send(path, MR, uid, EXPLICIT) == 0
        pacs.process.send_signal(signal.SIGSTOP)
        if large:
            uid, path = str(dataset.SOPInstanceUID), tmp_path / "large.dcm"
        assert opened.send(path, MR, uid, EXPLICIT) is None


def test_over_tls(tmp_path: Path, images: dict[str, Path]) -> None:
    """The sender speaks mutual TLS with storescp, and not with one that it does not trust."""
    authority, _key = make_certificate(tmp_path, "authority")
    certificate, key = make_certificate(tmp_path, "pacs", authority)
    context = client_context(authority, make_certificate(tmp_path, "node", authority))
    received = tmp_path / "stored"
    with storescp(tmp_path, "+B", "+tls", key, certificate, "+cf", authority) as pacs:
        with association(pacs.port, tls=context) as opened:
            assert [opened.send(path, MR, uid, EXPLICIT) for uid, path in images.items()] == [0] * 10
        stranger, _key = make_certificate(tmp_path, "stranger")
        with pytest.raises(DeliveryError, match="CERTIFICATE_VERIFY_FAILED"):
            association(pacs.port, tls=client_context(stranger)).open()
    assert len(list(received.iterdir())) == 10
