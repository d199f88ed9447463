"""A real Slurm on this machine: one node, two partitions, the upper one preempts the lower one.

Needs `slurmctld`, `slurmd`, `srun` and `munged` (Debian, Ubuntu: packages `slurm-wlm` and `munge`),
and nothing else: no systemd, no cgroups, no database, no configuration of the system is touched.
"""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.sock
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={control_port}
SlurmdPort={node_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=2
ReturnToService=2
JobRequeue=1
KillWait=20
MailProg=/bin/true
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 \
PreemptMode=REQUEUE GraceTime=120
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def find_daemons() -> dict[str, str] | None:
    """Paths of the programs that a node needs, or None where one is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    wanted = {
        "slurmctld": ("slurmctld", "slurmctld-wlm"),
        "slurmd": ("slurmd", "slurmd-wlm"),
        "slurmstepd": ("slurmstepd", "slurmstepd-wlm"),
        "munged": ("munged",),
        "sbatch": ("sbatch",),
        "srun": ("srun",),
        "scontrol": ("scontrol",),
    }
    found = {}
    for name, candidates in wanted.items():
        paths = [shutil.which(candidate, path=path) for candidate in candidates]
        present = [p for p in paths if p is not None]
        if not present:
            return None
        found[name] = present[0]
    return found


class SlurmNode:
    """A node that lives as long as its `with` block.

    Args:
        folder: Folder of its state and logs; a short path, as it holds sockets.
        daemons: What `find_daemons` found.
    """

    def __init__(self, folder: Path, daemons: dict[str, str]) -> None:
        self.folder = folder
        self.daemons = daemons
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.environment["PATH"] = f"{Path(daemons['srun']).parent}:{os.environ['PATH']}"

    def __enter__(self) -> "SlurmNode":
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        self._write_config()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        f = self.folder
        self._start(
            "munged", "--force", f"--key-file={key}", f"--socket={f}/munge.sock",
            f"--pid-file={f}/munged.pid", f"--log-file={f}/munged.log", f"--seed-file={f}/seed",
        )  # fmt: skip
        wait_for(lambda: (f / "munge.sock").exists(), "munged", 20)
        self._start("slurmctld", "-c")
        self._start("slurmd", "-d", self.daemons["slurmstepd"])
        wait_for(lambda: "State=IDLE" in self.ask("scontrol", "show", "node"), "the node", 60)
        return self

    def __exit__(self, *error: object) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            pid = self.folder / f"{name}.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), 15)
                wait_for(partial(_is_gone, pid), f"the end of {name}", 60)

    def ask(self, *command: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def submit(self, *words: str) -> str:
        """Submit a batch job; its id."""
        printed = self.ask("sbatch", "--parsable", *words).strip()
        assert printed.isdecimal(), printed
        return printed

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says."""
        words = self.ask("scontrol", "show", "job", job, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_until(self, job: str, *states: str, seconds: float = 300) -> dict[str, str]:
        """Wait until a job is in one of some states."""
        wait_for(lambda: self.job(job)["JobState"] in states, f"job {job} to be {states}", seconds)
        return self.job(job)

    def start_now(self, job: str) -> None:
        """Skip the two minutes that Slurm waits before it starts a requeued job."""
        self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def _start(self, name: str, *words: str) -> None:
        done = subprocess.run(
            [self.daemons[name], *words],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _write_config(self) -> None:
        # beside the daemons: /usr/sbin/slurmd -> /usr/lib/x86_64-linux-gnu/slurm-wlm
        prefix = Path(self.daemons["slurmd"]).resolve().parents[1]
        places = ("lib*/slurm*", "lib*/*/slurm*")
        found = [p for place in places for p in prefix.glob(f"{place}/auth_munge.so")]
        config = _CONFIG.format(
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            folder=self.folder,
            plugins=found[0].parent,
            control_port=_free_port(),
            node_port=_free_port(),
            cpus=os.cpu_count(),
        )
        (self.folder / "slurm.conf").write_text(config)


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until something is so; fail with a sentence where it takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)


def _is_gone(path: Path) -> bool:
    return not path.exists()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
