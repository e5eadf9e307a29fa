"""Certificates for tests, made by openssl when they are asked for."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from programs import program


def make_certificate(directory: Path, name: str, authority: Path | None = None) -> tuple[Path, Path]:
    """Make certificate and key for `name`, signed by `authority` (its certificate) or by itself."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    command: list[str | Path] = [program("openssl"), "req", "-x509", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-out", str(certificate), "-keyout", str(key)]
    if authority is None:
        command += ["-addext", "basicConstraints=critical,CA:TRUE"]
    else:
        command += ["-CA", str(authority), "-CAkey", str(authority.with_suffix(".key"))]
        command += ["-addext", "basicConstraints=CA:FALSE", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def client_context(authority: Path, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Return a client's context that trusts `authority` and shows `own`."""
    context = ssl.create_default_context(cafile=authority)
    if own is not None:
        context.load_cert_chain(*own)
    return context
