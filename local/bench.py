"""Times the plan of a clean-up over a large account, next to Cloud Custodian on the same account.

EC2 is the simulator, with an account of `tests/bench/account.py`. Both contestants find it by AWS_ENDPOINT_URL, take
turns, and start as new processes each time. docs/benchmark.md says what is compared and what is not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from . import rie, simulator
from .processes import (
    LOOPBACK,
    StackError,
    clean_environment,
    end_on_signals,
    free_port,
    listens,
    start,
    stop_child,
    tail,
    wait_until,
)

ROOT = simulator.ROOT
FILES = ROOT / "tests" / "bench"
CUSTODIAN = ROOT / ".venv-bench" / "bin" / "custodian"

# What the function has: its time-out in seconds and its memory in MB.
TIMEOUT_SECONDS = 900
MEMORY_MB = 256
# What the benchmark is about.
LEAST_FACTOR = 20
MOST_MB = 128
REFUSED = "RequestLimitExceeded"

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """One run of one contestant."""

    wall: float
    cpu: float
    peak_mb: float
    found: str
    calls: int = 0
    refused: int = 0
    simulator_cpu: float = 0.0


@dataclass
class Results:
    """All runs of one contestant under one condition."""

    contestant: str
    token_buckets: bool
    runs: list[Measured] = field(default_factory=list)

    def median(self, name: str) -> float:
        """The median of one of the figures."""
        return statistics.median(getattr(run, name) for run in self.runs)

    def row(self) -> list[str]:
        """A line of the table."""
        figures = [f"{self.median('wall'):.1f}", f"{self.median('cpu'):.1f}", f"{self.median('peak_mb'):.0f}"]
        figures += [f"{self.median('calls'):.0f}", f"{self.median('refused'):.0f}"]
        figures.append(f"{self.median('simulator_cpu'):.1f}")
        return ["on" if self.token_buckets else "off", self.contestant, str(len(self.runs)), *figures]


HEADER = ["token buckets", "what", "runs", "wall s", "CPU s", "peak MB", "calls", "refused", "simulator's CPU s"]


def table(results: list[Results]) -> str:
    """The medians, as Markdown."""
    rows = [HEADER, ["---"] * len(HEADER), *(one.row() for one in results if one.runs)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def goals(function: str, results: list[Results]) -> list[tuple[bool, str]]:
    """Whether each goal is met, and by what."""
    ours = [one for one in results if one.contestant == function and one.runs]
    said = []
    for one in results:
        same = [other for other in ours if other.token_buckets == one.token_buckets]
        if one.contestant != function and one.runs and same and not one.token_buckets:
            factor = one.median("wall") / same[0].median("wall")
            sentence = f"{factor:.1f} times as fast as {one.contestant} without token buckets"
            said.append((factor >= LEAST_FACTOR, f"{sentence} (at least {LEAST_FACTOR})"))
    if ours:
        peak = max(run.peak_mb for one in ours for run in one.runs)
        said.append((peak < MOST_MB, f"{peak:.0f} MB at the peak of any run (less than {MOST_MB})"))
        slowest = max(run.wall for one in ours for run in one.runs)
        said.append((slowest < TIMEOUT_SECONDS, f"{slowest:.1f} s in the slowest run (less than {TIMEOUT_SECONDS})"))
    return said


def cpu_seconds(process: int) -> float:
    """What a running process has used of all processors so far."""
    # The name in parentheses may hold spaces; user and system time are the 14th and 15th field of all.
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_mb(process: int) -> float:
    """The most memory that a running process has ever had resident."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise StackError(f"process {process} is over: its memory cannot be read any more")


def child_of(parent: int) -> int:
    """The process that `parent` has started: the emulator starts nothing but the function."""
    for entry in Path("/proc").iterdir():
        try:
            # The parent is the 4th field of all, of which the 2nd, in parentheses, may hold spaces.
            if entry.name.isdigit() and int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                return int(entry.name)
        except OSError:
            continue  # a process that has ended meanwhile
    raise StackError("the function is over: the runtime interface emulator has ended it")


class Contestants:
    """Runs one contestant at a time against a simulator at `endpoint`."""

    def __init__(self, directory: Path, endpoint: str, asked: argparse.Namespace) -> None:
        self._directory = directory
        self._endpoint = endpoint
        self._asked = asked

    def function(self) -> Measured:
        """The function under the runtime interface emulator. The time is that of one cold invocation."""
        name, binary = self._asked.function, self._asked.binary
        if not binary.is_file():
            raise StackError(f"{binary} is not there: `make bench` builds that of plan-cleanup")
        port, runtime_port = free_port(), free_port()
        environment = clean_environment(
            AWS_ENDPOINT_URL=self._endpoint,
            AWS_LAMBDA_FUNCTION_NAME=name,
            AWS_LAMBDA_FUNCTION_TIMEOUT=str(TIMEOUT_SECONDS),
            AWS_LAMBDA_FUNCTION_MEMORY_SIZE=str(MEMORY_MB),
            **simulator.DEMO_SETTINGS,
        )
        command = [str(rie.emulator(ROOT / ".local" / "rie")), "--runtime-interface-emulator-address"]
        command += [f"{LOOPBACK}:{port}", "--runtime-api-address", f"{LOOPBACK}:{runtime_port}"]
        log = self._directory / "function.log"
        emulator = start([*command, str(binary), "bootstrap"], log, environment, ROOT)
        try:
            wait_until("the runtime interface emulator", lambda: listens(port), emulator, log, 20)
            url = f"http://{LOOPBACK}:{port}/2015-03-31/functions/function/invocations"
            request = urllib.request.Request(url, method="POST", data=self._asked.event.read_bytes())
            begun = time.monotonic()
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS + 10) as reply:
                text = reply.read().decode(errors="replace")
            wall = time.monotonic() - begun
            check_answer(text, log)
            process = child_of(emulator.pid)
            return Measured(wall, cpu_seconds(process), peak_mb(process), shortened(text))
        except urllib.error.URLError as error:
            raise StackError(f"{name} did not answer: {error}; its log ends:\n{tail(log)}") from error
        finally:
            stop_child(emulator)

    def custodian(self) -> Measured | None:
        """Cloud Custodian with its policies, as a command; `None` if it takes longer than a function may."""
        home = Path(tempfile.mkdtemp(dir=self._directory))
        output, log = home / "output", home / "custodian.log"
        command = [str(self._asked.custodian), "run", "--dryrun", "--region", "us-east-1"]
        command += ["--cache", self._asked.cache] if self._asked.cache else ["--cache-period", "0"]
        command += ["--output-dir", str(output), str(FILES / "policies.yml")]
        environment = clean_environment(AWS_ENDPOINT_URL=self._endpoint, HOME=str(home))
        begun = time.monotonic()
        child = start(command, log, environment, home)
        try:
            while True:
                process, status, used = os.wait4(child.pid, os.WNOHANG)
                if process:
                    break
                if time.monotonic() - begun > TIMEOUT_SECONDS:
                    return None
                time.sleep(0.02)
            wall = time.monotonic() - begun
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                raise StackError(f"Cloud Custodian ended with status {child.returncode}; {log} ends:\n{tail(log)}")
        finally:
            if child.returncode is None:
                stop_child(child)
        counts = {path.parent.name: len(json.loads(path.read_bytes())) for path in output.glob("*/resources.json")}
        found = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        # ru_maxrss is in KiB on Linux.
        return Measured(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, found)


def check_answer(text: str, log: Path) -> None:
    """Fails if the function has failed: the emulator answers with an object that names the error."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {"errorType": "no JSON"}
    if isinstance(answer, dict) and "errorType" in answer:
        raise StackError(f"the function failed: {shortened(text)}; its log ends:\n{tail(log)}")


def shortened(text: str, most: int = 300) -> str:
    """One line of what may be long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"


class Bench:
    """All runs, one after the other."""

    def __init__(self, directory: Path, asked: argparse.Namespace) -> None:
        self._directory = directory
        self._asked = asked
        self._version = custodian_version(asked.custodian) if asked.custodian_runs else ""

    def run(self) -> list[Results]:
        """First without token buckets, then with them."""
        results = []
        for token_buckets in [name == "on" for name in ("off", "on") if self._asked.token_buckets in (name, "both")]:
            results += self._take_turns(token_buckets, self._account(token_buckets))
        return results

    def _account(self, token_buckets: bool) -> Path:
        file = self._directory / "account.json"
        asked = self._asked
        command = [sys.executable, str(FILES / "account.py"), str(file), "--images", str(asked.images)]
        command += ["--snapshots", str(asked.snapshots), "--instances", str(asked.instances)]
        subprocess.run([*command, *(["--token-buckets"] if token_buckets else [])], check=True)
        return file

    def _take_turns(self, token_buckets: bool, account: Path) -> list[Results]:
        turns = [(Results(self._asked.function, token_buckets), Contestants.function)]
        if self._asked.custodian_runs:
            turns.append((Results(f"Cloud Custodian {self._version}", token_buckets), Contestants.custodian))
        for number in range(1, self._asked.repetitions + 1):
            for results, contest in list(turns):
                measured = self._measure(contest, account)
                name = f"token buckets {'on' if token_buckets else 'off'}, {results.contestant}, run {number}"
                if measured is None:
                    print(f"{name}: not over after {TIMEOUT_SECONDS} s, not tried again", flush=True)
                    turns.remove((results, contest))
                    continue
                results.runs.append(measured)
                print(f"{name}: {measured.wall:.1f} s, {measured.peak_mb:.0f} MB; {measured.found}", flush=True)
        return [results for results, _ in turns]

    def _measure(self, contest: Callable[[Contestants], Measured | None], account: Path) -> Measured | None:
        """One run against a simulator of its own: one that has been put back answers more slowly than a new one."""
        aws, endpoint = simulator.launch(self._directory, account, seconds=120)
        try:
            used = cpu_seconds(aws.pid)
            measured = contest(Contestants(self._directory, endpoint, self._asked))
            if measured is None:
                return None
            measured.simulator_cpu = cpu_seconds(aws.pid) - used
            calls = simulator.Administration(endpoint, patience=60).calls()
            calls = [call for call in calls if not call.get("impliedBy")]
            measured.calls = len(calls)
            measured.refused = sum(call["outcome"] == REFUSED for call in calls)
            return measured
        finally:
            stop_child(aws)


def custodian_version(program: Path) -> str:
    """The version of Cloud Custodian, which must be installed."""
    try:
        asked = subprocess.run([str(program), "version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{program} does not run ({error}): `make bench` installs it") from error
    return asked.stdout.strip()


def main() -> None:
    """Run it. A goal that is missed is said and is no failure: how fast a machine is, is no property of the product."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", default="plan-cleanup", help="which function is timed")
    parser.add_argument("--event", type=Path, help="its event; absent: tests/bench/<function>.json")
    parser.add_argument("--binary", type=Path, help="its program; absent: target/release/<function>")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--snapshots", type=int, default=100_000)
    parser.add_argument("--instances", type=int, default=5_000)
    parser.add_argument("--token-buckets", choices=("off", "on", "both"), default="both")
    parser.add_argument("--custodian", type=Path, default=CUSTODIAN, help="the program that is compared with")
    parser.add_argument("--cache", help="Cloud Custodian's --cache, e.g. memory; absent: without a cache")
    parser.add_argument(
        "--alone", dest="custodian_runs", action="store_false", help="time the function alone, nothing beside it"
    )
    asked = parser.parse_args()
    asked.event = asked.event or FILES / f"{asked.function}.json"
    asked.binary = (asked.binary or ROOT / "target" / "release" / asked.function).absolute()
    end_on_signals()
    if not asked.event.is_file():
        sys.exit(f"{asked.event} is not there")
    print(f"{asked.images} images, {asked.snapshots} snapshots, {asked.instances} instances")
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {load}, Python {platform.python_version()}")
    try:
        with tempfile.TemporaryDirectory(prefix="ami-backup-bench-") as directory:
            results = Bench(Path(directory), asked).run()
    except StackError as error:
        sys.exit(str(error))
    print(f"\nMedians:\n\n{table(results)}\n")
    for met, sentence in goals(asked.function, results):
        print(f"  {'✓' if met else '✗'} {sentence}")


if __name__ == "__main__":
    main()
