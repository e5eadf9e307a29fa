"""Group G: whatever a plugin does, its job fails with a reason, and everybody else goes on.

All faults are done to one pool, one after the other, while another pipeline's jobs run beside them. After
each, the same pipeline's next job must be served within seconds by a new worker, and nothing that the plugin
started may be alive.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deep_folders import NEST
from dicomnode.errors import JobFailedError
from dicomnode.host.foundation.file_trees import remove_tree
from dicomnode.host.jobs.job import JobDescription, run_job
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_folder import building_folder, links_folder
from dicomnode.host.workers.process_tree import descendants
from dicomnode.host.workers.worker_limits import Limits
from dicomnode.host.workers.worker_pool import WorkerPool
from dicomnode.host.workers.worker_settings import WorkerSettings
from own_processes import started
from plugin_factory import INVERT, PRELUDE, SCRIPTED, PluginFactory, job_of

MEGABYTE = 2**20
SOON = 10.0
"""Seconds within which a new worker serves the next job. One, on a machine that does nothing else."""


class Bench:
    """A pool under attack, and another pipeline's jobs beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugins = PluginFactory(root / "plugins")
        self.plugins.add("scripted", SCRIPTED)
        self.plugins.add("steady", INVERT)
        limits = Limits(memory=600 * MEGABYTE, disk=50 * MEGABYTE, processes=64)
        settings = WorkerSettings(grace=0.5, patience=1.0)
        self.pool = WorkerPool(limits=limits, settings=settings, scratch=root)
        self.waits: list[float] = []
        self._over = threading.Event()
        self._beside = threading.Thread(target=self._run_beside)

    def start(self) -> None:
        """Run jobs of another pipeline from now on."""
        self._beside.start()

    def stop(self) -> None:
        """Stop them, and see that they never noticed."""
        self._over.set()
        self._beside.join()

    def _run_beside(self) -> None:
        while not self._over.wait(0.1):
            begin = time.monotonic()
            self.submit("steady").result(60)
            self.waits.append(time.monotonic() - begin)

    def submit(self, plugin: str, **given: Any) -> Future[dict[str, Any]]:
        """Submit a job of a plugin."""
        return self.pool.submit(run_job, self.job(plugin, **given).to_json())

    def job(self, plugin: str, **given: Any) -> JobDescription:
        """Make a job of a plugin."""
        return job_of(plugin, self.root, **{"timeout": 30.0, **given})

    def alive(self) -> set[int]:
        """Return the processes of workers."""
        return started()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Attack one pool in all tests; none of it may be left, and the jobs beside must not have noticed."""
    descriptors, threads = _descriptors(), threading.active_count()
    bench = Bench(tmp_path_factory.mktemp("faults"))
    with bench.plugins.installed():
        bench.start()
        yield bench
        bench.stop()
        begin = time.monotonic()
        bench.pool.shutdown()
    ended = time.monotonic() - begin
    waits = sorted(bench.waits)
    middle, worst = statistics.median(waits), waits[-1]
    tell(f"jobs beside: {len(waits)}, none failed; median {middle:.2f} s, worst {worst:.2f} s")
    tell(f"pool ended in {ended:.2f} s")
    assert ended < 10
    assert not bench.alive()
    assert [*bench.root.glob("worker-*"), *bench.root.glob(".leftover-*")] == []
    assert threading.active_count() == threads
    assert _descriptors() == descriptors


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def running(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tell(text: str) -> None:
    """Print figures."""
    print(f"\n{text}")  # noqa: T201 - what `pytest -s` is for


@contextmanager
def recovering(bench: Bench, name: str, plugin: str = "scripted") -> Iterator[dict[str, Any]]:
    """See that a fault is followed by a job that is served soon, and print the figures."""
    figures: dict[str, Any] = {}
    begin = time.monotonic()
    yield figures
    figures["reported after, s"] = round(time.monotonic() - begin, 2)
    begin = time.monotonic()
    bench.submit(plugin).result(30)
    served = time.monotonic() - begin
    figures["next job served in, s"] = round(served, 2)
    tell(f"{name}: {figures}")
    assert served < SOON


def suffer(bench: Bench, code: str, **given: Any) -> JobFailedError:
    """Have a job do harm, and return how it failed. Nothing of it may be left."""
    job = bench.job("scripted", settings={"code": textwrap.dedent(code)}, **given)
    with pytest.raises(JobFailedError) as caught:
        bench.pool.submit(run_job, job.to_json()).result(30)
    workdir = Path(job.workdir)
    for left in (Path(job.folder), building_folder(Path(job.folder)), workdir, links_folder(workdir)):
        assert not left.exists()
    for path, _ in job.inputs["images"]:
        assert Path(path).exists()
    return caught.value


FORK_BOMB = """
until = time.monotonic() + 15  # a fuse: if nobody ends it, it ends itself
while time.monotonic() < until:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
os._exit(0)
"""

ALLOCATE = """
held = []
while True:
    held.append(np.ones(20 * 2**20, np.uint8))
    time.sleep(0.01)
"""

CHILD_ALLOCATES = """
code = "import time; held = bytearray(b'x') * (900 * 2**20); time.sleep(60)"
subprocess.run([sys.executable, "-c", code])
"""

MANY_FILES = """
for number in range(10_000):
    (inputs.job.workdir / str(number)).write_bytes(bytes(2**20))
    time.sleep(0.001)
"""

ONE_FILE = """
with (inputs.job.workdir / "large").open("wb") as file:
    for _ in range(10_000):
        file.write(bytes(2**20))
"""

RESULT_OF_10_GB = """
class Large(PipelineOutput):
    name = "large"
    def write(self, folder):
        for number in range(10_000):
            (folder / str(number)).write_bytes(bytes(2**20))
            time.sleep(0.001)
        return []
result = Large()
"""

FAULTS = {
    "raises": ("raise ValueError('no')", Failure.RAISED, "raised ValueError: no"),
    "exits with 0": ("sys.exit(0)", Failure.EXITED, "called sys.exit(0)"),
    "exits at once with 0": ("os._exit(0)", Failure.EXITED, "ended its process with exit code 0"),
    "exits at once with 3": ("os._exit(3)", Failure.EXITED, "ended its process with exit code 3"),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", Failure.CRASHED, "SIGSEGV"),
    "abort": ("os.abort()", Failure.CRASHED, "SIGABRT"),
    "stack overflow": ("import faulthandler; faulthandler._stack_overflow()", Failure.CRASHED, "SIG"),
    "killed from outside": ("os.kill(os.getpid(), 9)", Failure.CRASHED, "SIGKILL"),
    "endless recursion": ("def f(): return f()\nf()", Failure.RAISED, "RecursionError"),
    "wrong type": ("result = 'done'", Failure.OUTPUT, "returned str"),
    "memory that is not there": ("np.ones(2**48)", Failure.MEMORY, "could not get the memory"),
    "memory": (ALLOCATE, Failure.MEMORY, "may hold 600 MB"),
    "memory of a child": (CHILD_ALLOCATES, Failure.MEMORY, "may hold 600 MB"),
    "one large file": (ONE_FILE, Failure.DISK, "File too large"),
    "many files": (MANY_FILES, Failure.DISK, "may write 50 MB"),
    "a result of 10 GB": (RESULT_OF_10_GB, Failure.DISK, "may write 50 MB"),
    "fork bomb": (FORK_BOMB, Failure.PROCESSES, "more processes than the 64"),
    "closes the connection": ("os.closerange(3, 256); time.sleep(9)", Failure.CRASHED, "closed the worker's"),
    "talks nonsense": (
        "for n in range(3, 64):\n"
        "    try: os.write(n, b'nonsense\\n')\n"
        "    except OSError: pass",
        Failure.CRASHED,
        "not a message",
    ),
    "ends when its result is in place": (
        "from dicomnode.host.jobs.job_folder import JobFolder\n"
        "finish = JobFolder.finish\n"
        "def and_end(*given):\n"
        "    finish(*given)\n"
        "    os._exit(5)\n"
        "JobFolder.finish = and_end",
        Failure.EXITED,
        "exit code 5",
    ),
    "kills its supervisor": ("os.kill(os.getppid(), 9); time.sleep(9)", Failure.NO_WORKER, "with status -9"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults(bench: Bench, name: str) -> None:
    """A fault fails its own job with its reason, and the next job of the pipeline is served."""
    code, kind, said = FAULTS[name]
    with recovering(bench, name) as figures:
        error = suffer(bench, code)
        figures["reason"] = str(error)
    assert error.kind == kind
    assert said in str(error)
    assert len(error.log_tail) < 200_000


HANGS = {
    "sleeps": "time.sleep(1000)",
    "endless loop": "while True: pass",
    "holds the interpreter": "10 ** 10 ** 9",
    "ignores SIGTERM": "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "waits for a child": "subprocess.run(['sleep', '1000'])",
    "floods its output": "while True: os.write(1, b'x' * 65536)",
}


@pytest.mark.parametrize("name", HANGS)
def test_hangs(bench: Bench, name: str) -> None:
    """A job that does not come to an end is ended at its timeout, whatever it does about it."""
    with recovering(bench, name) as figures:
        begin = time.monotonic()
        error = suffer(bench, HANGS[name], timeout=1.5)
        figures["ended after, s (timeout 1.5)"] = round(time.monotonic() - begin, 2)
    assert error.kind == Failure.TIMEOUT
    assert "timeout of 1.5 s" in str(error)
    if name in {"sleeps", "endless loop"}:
        assert "in process" in error.log_tail  # where it hung
    if name == "floods its output":
        assert "bytes before this were dropped" in error.log_tail
        assert len(error.log_tail) < 70_000


def test_a_supervisor_that_is_stopped(bench: Bench) -> None:
    """A supervisor that does not answer is taken for dead after its patience, and all of it is killed."""
    with recovering(bench, "stops its supervisor"):
        before = bench.alive()
        error = suffer(bench, "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(1000)", timeout=1.0)
        assert error.kind == Failure.NO_WORKER
        assert len(bench.alive()) <= len(before)


DAEMON = """
import os, signal, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.closerange(0, 256)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(1000)
"""
LEAVE_DAEMON = """
subprocess.run([sys.executable, "-c", {daemon!r}, {path!r}])
until = time.monotonic() + 5
while not (os.path.exists({path!r}) and open({path!r}).read()) and time.monotonic() < until:
    time.sleep(0.01)
{then}
"""


@pytest.mark.parametrize(
    "then", ["", "raise ValueError", "os._exit(0)", "time.sleep(99)", "os.kill(os.getppid(), 9)"]
)
def test_a_daemon_left_behind(bench: Bench, tmp_path: Path, then: str) -> None:
    """A daemon that a plugin leaves behind (forked twice, in a session of its own) dies with its job."""
    path = str(tmp_path / "pid")
    code = LEAVE_DAEMON.format(daemon=DAEMON, path=path, then=then)
    with recovering(bench, f"a daemon, and then {then or 'success'}"):
        if then:
            suffer(bench, code, timeout=5.0)
        else:
            bench.submit("scripted", settings={"code": code}).result(30)
        daemon = int(Path(path).read_text())
        assert not running(daemon)


def test_a_flood_that_ends(bench: Bench) -> None:
    """Fifty megabytes of output cost the host 64 kB: the end of it, and how much is missing."""
    code = "line = b'x' * 99 + b'\\n'\nfor _ in range(500): os.write(1, line * 1024)"
    begin = time.monotonic()
    result = bench.submit("scripted", settings={"code": code}).result(30)
    tell(f"50 MB of output: {time.monotonic() - begin:.2f} s, kept {len(result['log_tail'])} bytes")
    assert result["log_tail"].startswith(f"[{500 * 1024 * 100 - 65536} bytes before this were dropped]")


def test_children_that_are_not_left_behind_stay_warm(bench: Bench) -> None:
    """A pool of processes that is still the worker's own lives on between jobs, as the model does."""
    start = "import builtins; builtins.child = subprocess.Popen(['sleep', '1000'])"
    bench.submit("scripted", settings={"code": start}).result(30)
    bench.submit(
        "scripted", settings={"code": "import builtins; assert builtins.child.poll() is None"}
    ).result(30)
    with recovering(bench, "a child, ended with its worker"):
        suffer(bench, "os._exit(0)")


def test_memory_that_children_share_counts_once(bench: Bench) -> None:
    """Forked children that share 400 MB with their parent are not 2 GB."""
    code = """
    held = np.ones(400 * 2**20, np.uint8)
    children = [os.fork() or (time.sleep(1.0), os._exit(0)) for _ in range(4)]
    for child in children: os.waitpid(child, 0)
    """
    done = bench.submit("scripted", settings={"code": textwrap.dedent(code)})
    assert done.exception(30) is None


IN_THE_WORKING_FOLDER = f"{NEST}\nnest(inputs.job.workdir, 1200)\n"
IN_THE_CURRENT_FOLDER = f"{NEST}\nnest('.', 1200)\n"
IN_THE_RESULT_FOLDER = f"""
{NEST}
class Deep(FileOutput):
    def write(self, folder):
        nest(folder, 1200)
        return super().write(folder)
result = Deep({{"said": "yes"}})
"""


@pytest.mark.parametrize("code", [IN_THE_WORKING_FOLDER, IN_THE_CURRENT_FOLDER, IN_THE_RESULT_FOLDER])
@pytest.mark.parametrize("then", ["", "os._exit(0)", "os.kill(os.getppid(), 9)"])
def test_deep_folders(bench: Bench, code: str, then: str) -> None:
    """Folders nested 1,200 deep, wherever a job leaves them, are removed, and no other job notices."""
    with recovering(bench, f"deep folders, and then {then or 'success'}"):
        if then:
            suffer(bench, f"{code}\nresult = result.write(inputs.job.workdir)\n{then}")
        else:
            job = bench.job("scripted", settings={"code": code})
            result = bench.pool.submit(run_job, job.to_json()).result(60)
            assert not Path(job.workdir).exists()
            assert remove_tree(Path(result["folder"])) is None


def test_deep_folders_count_for_the_disk(bench: Bench) -> None:
    """What a job writes below 1,200 folders counts as what it writes anywhere else."""
    fill = "open('large', 'wb').write(bytes(40 * 2**20)); open('larger', 'wb').write(bytes(40 * 2**20))"
    deep = "os.chdir(inputs.job.workdir)\nfor _ in range(1200): os.mkdir('d'); os.chdir('d')\n"
    with recovering(bench, "80 MB in a deep folder"):
        error = suffer(bench, f"{deep}{fill}; time.sleep(99)")
    assert error.kind == Failure.DISK


BAD_RESULTS = {
    "another patient": ("series[0].PatientID = 'somebody else'", "PatientID that no input has"),
    "an input's UID": (
        "uid = inputs.sources[0].SOPInstanceUID\n"
        "series[0].SOPInstanceUID = series[0].file_meta.MediaStorageSOPInstanceUID = uid",
        "SOPInstanceUID of an input",
    ),
    "invalid DICOM": ("series[0].PixelData = b'12'", "cannot be read back"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_results_that_must_not_leave(bench: Bench, name: str) -> None:
    """A result of another patient, with an input's UID or of broken DICOM never reaches the outbox."""
    change, said = BAD_RESULTS[name]
    with recovering(bench, f"a result of {name}"):
        error = suffer(bench, f"series = inverted(inputs)\n{change}\nresult = DicomOutput(series)")
    assert error.kind == Failure.OUTPUT
    assert said in str(error)
    assert "somebody else" not in str(error)


@pytest.mark.parametrize("code", ["path.write_bytes(b'')", "dataset.PatientID = 'x'; dataset.save_as(path)"])
def test_a_plugin_that_writes_over_its_input(bench: Bench, code: str) -> None:
    """A plugin that writes to the file that it was given is refused by the file's mode, root's too."""
    with recovering(bench, "writes over its input"):
        error = suffer(bench, f"dataset = inputs.images('images')[0]; path = dataset.path; {code}")
    assert "Permission denied" in str(error)


def test_import_that_fails(bench: Bench) -> None:
    """A plugin that raises, exits or hangs when it is imported fails its jobs, and the next version works."""
    for number, (source, kind, timeout) in enumerate(
        [
            ("raise RuntimeError('no CUDA')", Failure.PLUGIN, 30.0),
            ("sys.exit(0)", Failure.PLUGIN, 30.0),
            ("os._exit(0)", Failure.EXITED, 30.0),
            ("time.sleep(1000)", Failure.TIMEOUT, 4.0),
        ]
    ):
        name = bench.plugins.add(f"importing{number}", PRELUDE + source)
        with pytest.raises(JobFailedError) as caught:
            bench.submit(name, timeout=timeout).result(60)
        assert caught.value.kind == kind
        bench.plugins.add(name, INVERT)
        with recovering(bench, f"{source} at import: {caught.value}", name):
            pass


def test_a_package_that_is_gone(bench: Bench) -> None:
    """A warm worker goes on after an upgrade took its package away; a new one says what is missing."""
    name = bench.plugins.add("leaving", SCRIPTED)
    bench.submit(name).result(30)
    bench.plugins.remove(name)
    bench.submit(name).result(30)
    with pytest.raises(JobFailedError, match="no installed plugin registers 'leaving'") as caught:
        bench.submit(name, settings={"code": "1"}).result(30)
    assert caught.value.kind == Failure.PLUGIN
    bench.plugins.add(name, SCRIPTED, version="2.0")
    with pytest.raises(JobFailedError, match=r"made for leaving 1\.0.*now belongs to leaving 2\.0"):
        bench.submit(name).result(30)
    with recovering(bench, "upgraded", "steady"):
        bench.submit(name, version="2.0").result(30)


def test_an_exit_handler_that_hangs(bench: Bench) -> None:
    """A worker that does not want to go when it is idle is killed."""
    thread = "threading.Thread(target=time.sleep, args=(1000,)).start()"
    code = f"import atexit; atexit.register(time.sleep, 1000); {thread}"
    bench.submit("scripted", settings={"code": code}).result(30)
    with recovering(bench, "an exit handler that hangs"):
        suffer(bench, "raise ValueError")


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a small file system, as root can."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode != 0 and os.environ.get("DICOMNODE_REQUIRE_PEERS") != "1":
        pytest.skip("only root can mount a small disk")
    assert mounted.returncode == 0, mounted.stderr
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


FULL = {
    "in write": "result = FileOutput({'large': bytes(10 * 2**20)})",
    "in the working folder": "(inputs.job.workdir / 'large').write_bytes(bytes(10 * 2**20))",
    "nearly": "(inputs.job.workdir / 'half').write_bytes(bytes(5 * 2**20)); time.sleep(9)",
}


@pytest.mark.parametrize("where", FULL)
def test_a_full_disk(bench: Bench, tmp_path: Path, where: str) -> None:
    """A disk that is full, or nearly, fails the job as such and leaves nothing half-visible in the outbox."""
    disk = tmp_path / "disk"
    with small_disk(disk, 8), WorkerPool(limits=Limits(free=4 * MEGABYTE), scratch=tmp_path) as pool:
        job = job_of("scripted", disk, settings={"code": FULL[where]}, timeout=30.0)
        with pytest.raises(JobFailedError) as caught:
            pool.submit(run_job, job.to_json()).result(30)
        tell(f"a full disk, {where}: {caught.value}")
        assert caught.value.kind == Failure.DISK
        assert list((disk / "outbox").iterdir()) == list((disk / "work").iterdir()) == []


SAY_LIMITS = """
import json, resource, tempfile
own = [name for name in os.environ if name.startswith("DICOMNODE_") and name != "DICOMNODE_WORKER"]
result = FileOutput({"said": json.dumps({
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    "nice": os.nice(0),
    "stdin": sys.stdin.read(),
    "session": os.getsid(0) == os.getpid(),
    "umask": os.umask(0o077),
    "oom": int(open("/proc/self/oom_score_adj").read()),
    "temporary files": tempfile.gettempdir() == os.getcwd(),
    "secrets": own,
})})
"""


def test_limits_of_the_worker_itself(bench: Bench) -> None:
    """A worker has no core dumps, no standard input, files for itself only, and gives way to the host."""
    os.environ["DICOMNODE_PEERS__PACS__SECRET"] = "hush"
    try:
        bench.submit("scripted", settings={"code": "os._exit(0)"}).exception(
            30
        )  # a new worker sees the variable
        folder = bench.submit("scripted", settings={"code": SAY_LIMITS}).result(30)["folder"]
    finally:
        del os.environ["DICOMNODE_PEERS__PACS__SECRET"]
    said = json.loads((Path(folder) / "00" / "000000").read_text())
    nice = os.nice(0) + 5
    assert said == {
        "core": 1,
        "nice": nice,
        "stdin": "",
        "session": True,
        "umask": 0o077,
        "temporary files": True,
        "oom": 500,
        "secrets": [],
    }


HOST = """
import sys, time
sys.path[:0] = [{tests!r}, {plugins!r}]
from pathlib import Path
from plugin_factory import job_of
from dicomnode.host.jobs.job import run_job
from dicomnode.host.workers.worker_pool import WorkerPool
pool = WorkerPool(scratch=Path({root!r}))
pool.submit(run_job, job_of("scripted", Path({root!r}), settings={{"code": {code!r}}}).to_json())
time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_host_that_is_killed(bench: Bench, tmp_path: Path, number: signal.Signals) -> None:
    """When the host dies, whatever way, its workers and their daemons die too."""
    path = str(tmp_path / "pid")
    code = LEAVE_DAEMON.format(daemon=DAEMON, path=path, then="time.sleep(1000)")
    tests = str(Path(__file__).parents[1])
    source = HOST.format(tests=tests, plugins=str(bench.plugins.folder), root=str(tmp_path), code=code)
    host = subprocess.Popen([sys.executable, "-c", source])
    try:
        until = time.monotonic() + 20
        while not (Path(path).exists() and Path(path).read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        started = descendants(host.pid)
        assert len(started) >= 3
        assert int(Path(path).read_text()) in started
        begin = time.monotonic()
        host.send_signal(number)
        host.wait(10)
        while any(map(running, started)) and time.monotonic() < begin + 20:
            time.sleep(0.01)
        took = time.monotonic() - begin
    finally:
        host.kill()
    tell(f"{len(started)} processes of a host that got {number.name} were gone after {took:.2f} s")
    assert not [pid for pid in started if running(pid)]
