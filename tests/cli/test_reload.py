"""SIGHUP: who may associate and where results are sent is read again; nothing else changes."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl

import pytest

from certificates import make_certificate
from dicomnode.errors import DeliveryError
from dicomnode.testing import send
from running_host import RunningHost
from sources import ct_slices

PEERS = "".join(
    f'[peers.{name}]\nae_title = "{name}"\nnetwork = "127.0.0.0/8"\n' for name in ("FIRST", "SECOND")
)
PIPELINE = '[pipelines.smooth]\nsettle = "1 h"\n'


def reloaded(host, text, pattern="peers were read again"):
    """Write another configuration, send SIGHUP and wait for what is said about it."""
    before = host.text().count("read again")
    host.config.write_text(text)
    host.process.send_signal(signal.SIGHUP)
    host.wait_for_log(rf"(?s)(read again.*){{{before}}}{pattern}")


def may_send(host, calling):
    """Say whether a peer may associate and store."""
    try:
        return send(ct_slices()[:1], ("127.0.0.1", host.port), "SMOOTH", calling_ae_title=calling) == [0]
    except DeliveryError:
        return False


def test_peers_are_read_again_while_associations_stand(tmp_path):
    """Who is let in and out changes at once; what waits stays; a wrong configuration changes nothing."""
    with RunningHost(tmp_path, PEERS + PIPELINE, host={"allow": ["FIRST"]}) as host:
        text = host.config.read_text()
        assert may_send(host, "FIRST")
        assert not may_send(host, "SECOND")
        reloaded(host, text.replace('allow = ["FIRST"]', 'allow = ["SECOND"]'))
        assert may_send(host, "SECOND")
        assert not may_send(host, "FIRST")

        for wrong, told in (
            ("[host", "not TOML"),
            (text.replace('["FIRST"]', '["THIRD"]'), "host.allow: 'THIRD' is no peer"),
            (text.replace('ae_title = "FIRST"', 'ae_titel = "FIRST"'), "did you mean ae_title"),
        ):
            reloaded(host, wrong, f"the configuration was not read again: .*{told}")
        assert may_send(host, "SECOND")
        assert not may_send(host, "FIRST")
        assert host.ask("status")["pipelines"]["smooth"]["waiting"] == {"patients": 1, "images": 1}


def test_what_needs_a_restart_is_told(tmp_path):
    """Other tables are named, and not touched."""
    with RunningHost(tmp_path, PIPELINE) as host:
        text = host.config.read_text()
        reloaded(host, text.replace('"1 h"', '"2 h"').replace("reserve = 0", "reserve = 1"))
        host.wait_for_log("host, pipelines changed, too: that needs a restart")


def test_a_destination_takes_its_new_address_or_all_stay_as_they_were(tmp_path):
    """Results go to where the peer is now; a peer that cannot be used leaves every other unchanged."""
    with socket.create_server(("127.0.0.1", 0)) as old, socket.create_server(("127.0.0.1", 0)) as new:
        old_port, new_port = (server.getsockname()[1] for server in (old, new))
        old.settimeout(20)
        new.settimeout(20)
        peers = (
            f'[peers.A]\nae_title = "A"\naddress = "127.0.0.1:{old_port}"\ntimeout = "1 s"\n'
            '[peers.B]\nae_title = "B"\naddress = "127.0.0.1:9"\n'
        )
        config = peers + '[pipelines.smooth]\ndestinations = ["A", "B"]\n[delivery]\nfirst_retry = "200 ms"\n'
        with RunningHost(tmp_path, config) as host:
            text = host.config.read_text()
            unusable = text.replace(str(old_port), str(new_port)).replace(
                '127.0.0.1:9"', '127.0.0.1:9"\ntls = { authorities = "none.pem" }'
            )
            reloaded(host, unusable, "the configuration was not read again: .*peers.B.tls")
            send(ct_slices(), ("127.0.0.1", host.port), "SMOOTH")
            old.accept()[0].close()
            reloaded(host, text.replace(str(old_port), str(new_port)))
            new.accept()[0].close()
            gone = text.replace("[peers.B]", "[peers.C]").replace('["A", "B"]', '["A"]')
            reloaded(host, gone, "peers.B has gone from the configuration, and results are sent to it")


@pytest.mark.parametrize("signalled", [False, True])
def test_renewed_certificates_are_shown_to_the_next_peer(tmp_path, signalled):
    """With SIGHUP or without: the files are looked at for every connection; broken ones leave the old."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        make_certificate(folder, "localhost")
    used = tmp_path / "used"
    shutil.copytree(first, used)
    tls = f'[tls]\ncertificate = "{used}/localhost.pem"\nkey = "{used}/localhost.key"\n'
    with RunningHost(tmp_path / "host", tls + PIPELINE) as host:

        def shown():
            return ssl.get_server_certificate(("127.0.0.1", host.port), timeout=10)

        assert shown() == (first / "localhost.pem").read_text()
        for name in ("localhost.key", "localhost.pem"):
            shutil.copy(second / name, used / name)
        if signalled:
            reloaded(host, host.config.read_text())
        assert shown() == (second / "localhost.pem").read_text()
        (used / "localhost.key").write_text("broken")
        assert shown() == (second / "localhost.pem").read_text()
        host.wait_for_log("renewed TLS certificates cannot be used, the old ones stay")


def test_the_service_manager_learns_when_images_can_be_sent(tmp_path):
    """READY=1 once the host listens, STOPPING=1 when it stops (sd_notify(3))."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        with RunningHost(tmp_path / "host", PIPELINE, environment={"NOTIFY_SOCKET": str(path)}) as host:
            assert manager.recv(100) == b"READY=1"
            assert may_send(host, "ANY")
        assert manager.recv(100) == b"STOPPING=1"
