"""What bulk reading holds: its rate beside the plain loop's, flat memory, two Ray nodes beside one, a killed node.

    python benchmarks/scaling.py [--pages 2000] [--sample 400] [here] [ray] [killed]

Pages are drawn (tests/paper.py), a hundred different ones, each in several copies. here: `read` in a loop, by processes
of one thread each, one alone and one for each core side by side, before and after `guarismo read --out` with as many;
memory of all its processes at a quarter of the pages and at the end. ray: one node of one core beside two, in turn.
killed: every process of a node killed with SIGKILL half-way through all pages, the table compared with that of this
machine alone. Nodes have addresses of their own, in network namespaces, where this may be done (root on Linux); else
they are those of `ray.cluster_utils`. Rates are of what came after the first answers: starting Ray takes 5 s whatever
is read. Where other programs run, the clock says little of one process beside another: the first goal is judged by
processor seconds, starting the processes included. Prints tables in Markdown. Exit status 1 where a goal is missed:

- 90 % of the plain loop's pages per second and core, by one process and by one for each core
- memory grows by no more than 5 % between a quarter of the pages and all of them
- two nodes read 1.7 times as many pages a second as one
- each page answered once, and as without the kill
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from guarismo.cluster import prepare
from guarismo.results.bulk import ONE_THREAD, by_processes, read_all

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from paper import Scene, photograph

DIFFERENT = 100
LEAST_SHARE, MOST_GROWTH, LEAST_GAIN = 0.90, 0.05, 1.7
AT_ONCE = 0.1
"""Seconds within which answers count as of one task."""
NET = "10.78.16"
"""The first three numbers of the nodes' addresses."""
PLAIN = """
import sys, time
from pathlib import Path
from guarismo.reading.reader import read
first, *files = map(Path, sys.argv[1:])
read(first)
began, used = time.perf_counter(), time.process_time()
for file in files:
    read(file)
print(len(files) / (time.perf_counter() - began), (time.process_time() - used) / len(files))
"""


@dataclass
class Seen:
    """What a Progress of a reading shows: seconds of each answer, and memory at a quarter and at the end, in bytes."""

    times: list[float]
    memory: dict[float, int]

    @property
    def rate(self) -> float:
        """Files per second after the first answers, which may come many at once."""
        first = self.times[0]
        return sum(at > first + AT_ONCE for at in self.times) / (self.times[-1] - first)


# Pages


def draw_pages(folder: Path, count: int) -> list[Path]:
    """JPEG files of two lines of five digits."""
    drawn = []
    for seed in range(min(DIFFERENT, count)):
        text = f"{(seed * 7919) % 100_000:05} {(seed * 104_729) % 100_000:05}"
        drawn.append(folder / f"{seed:05}.jpg")
        Image.fromarray(photograph(text, Scene(height=60, pen="felt"), seed).pixels).save(drawn[-1])
    copies = [folder / f"{number:05}.jpg" for number in range(len(drawn), count)]
    for number, copy in enumerate(copies):
        shutil.copy(drawn[number % len(drawn)], copy)
    return drawn + copies


def rows(table: Path) -> list[dict[str, Any]]:
    """What a table says; how long a page took differs."""
    return [{**row, "seconds": 0} for row in pq.read_table(table).to_pylist()]


# Here


def plain_rate(files: list[Path], jobs: int) -> tuple[float, float]:
    """Pages a second of `read` in a loop, by so many processes of one thread side by side, together; processor seconds
    of a page."""
    words = [sys.executable, "-c", PLAIN, *map(str, files)]
    one_thread = {**os.environ, **ONE_THREAD}
    loops = [subprocess.Popen(words, env=one_thread, stdout=subprocess.PIPE, text=True) for _ in range(jobs)]
    rates, seconds = zip(*(map(float, loop.communicate()[0].split()) for loop in loops), strict=True)
    return sum(rates), mean(seconds)


def processor_seconds() -> float:
    """Of this process and all that it began and that ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


def memory_of_all() -> int:
    """Bytes of this process and of those that it began, shared ones counted once for each process that shares them."""
    pids = [os.getpid(), *map(int, Path("/proc/self/task", str(os.getpid()), "children").read_text().split())]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def watched(total: int, then: Callable[[int], None] = lambda _: None) -> tuple[Seen, Callable[..., None]]:
    """A Progress that notes what passes, and what it notes."""
    seen = Seen([], {})

    def progress(done: int, _: int, **facts: object) -> None:
        if "file" in facts:
            seen.times.append(time.perf_counter())
            if done in (total // 4, total):
                seen.memory[0.25 if done < total else 1.0] = memory_of_all()
            then(done)

    return seen, progress


def here(files: list[Path], sample: int, folder: Path) -> tuple[bool, Path]:
    """The rates and the memory of one machine; the table of all pages."""
    cores = len(os.sched_getaffinity(0))
    print("| processes | pages | loop, pages a second | `--out` | loop, processor ms a page | `--out` | share |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    good = True
    for jobs, some, out in ((1, files[:sample], folder / "one.parquet"), (cores, files, folder / "all.parquet")):
        before = plain_rate(files[:sample], jobs)
        seen, progress = watched(len(some))
        used = processor_seconds()
        done = read_all(some, out, engine=partial(by_processes, jobs=jobs), progress=progress)
        used = (processor_seconds() - used) / len(some)
        rate, seconds = map(mean, zip(before, plain_rate(files[:sample], jobs), strict=True))
        cells = (jobs, f"{len(some):,}", f"{rate:.1f}", f"{seen.rate:.1f}", f"{1e3 * seconds:.1f}", f"{1e3 * used:.1f}")
        print("|", " | ".join(map(str, cells)), f"| {seconds / used:.0%} |")
        good &= seconds >= LEAST_SHARE * used and (done.pages, done.failed) == (len(some), 0)
    growth = seen.memory[1.0] / seen.memory[0.25] - 1
    print(f"\nWith its start: {done.rate:.1f} pages a second, {done.pages:,} pages, {done.failed} failed.")
    print(f"Memory at the end: {seen.memory[1.0] / 1e6:.0f} MB, {growth:+.1%} since a quarter of the pages.\n")
    return good and growth <= MOST_GROWTH, done.out


# Nodes


@dataclass
class Node:
    """A Ray node: how to run a program where it is, and how to kill all of it."""

    address: str
    inside: list[str]
    kill: Callable[[], None]


def quiet_run(*words: str, check: bool = True) -> str:
    return subprocess.run(words, check=check, capture_output=True, text=True).stdout


def may_make_namespaces() -> bool:
    return os.geteuid() == 0 and shutil.which("ip") is not None and namespace_can_be_made()


def namespace_can_be_made() -> bool:
    made = subprocess.run(["ip", "netns", "add", "guarismo-try"], capture_output=True).returncode == 0
    if made:
        quiet_run("ip", "netns", "delete", "guarismo-try")
    return made


@contextmanager
def bridge() -> Iterator[str]:
    """A switch that namespaces are plugged into."""
    quiet_run("ip", "link", "add", "guarismo0", "type", "bridge")
    try:
        quiet_run("ip", "link", "set", "guarismo0", "up")
        yield "guarismo0"
    finally:
        quiet_run("ip", "link", "delete", "guarismo0")


@contextmanager
def namespace(number: int, switch: str) -> Iterator[tuple[str, str]]:
    """A network namespace, and its address."""
    name, address = f"guarismo{number}", f"{NET}.{number}"
    ours, theirs = f"guar{number}", f"guar{number}p"
    quiet_run("ip", "netns", "add", name)
    try:
        quiet_run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        quiet_run("ip", "link", "set", ours, "master", switch, "up")
        for words in (f"addr add {address}/24 dev {theirs}", f"link set {theirs} up", "link set lo up"):
            quiet_run("ip", "-n", name, *words.split())
        yield name, address
    finally:
        kill_all_in(name)
        quiet_run("ip", "link", "delete", ours, check=False)  # its processes may hold the namespace for a while
        quiet_run("ip", "netns", "delete", name)


def kill_all_in(name: str) -> None:
    """SIGKILL for every process in a namespace."""
    for pid in quiet_run("ip", "netns", "pids", name).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@contextmanager
def node(number: int, switch: str, head: str | None, notes: Path) -> Iterator[Node]:
    """A Ray node of one core in a namespace of its own: the head, or one that joins it."""
    with namespace(number, switch) as (name, address):
        inside = ["ip", "netns", "exec", name]
        role = ["--head", "--port=6379", "--include-dashboard=false"] if head is None else [f"--address={head}"]
        words = ["ray", "start", *role, f"--node-ip-address={address}", "--num-cpus=1"]
        memory = f"--object-store-memory={200 * 2**20}"
        with (notes / f"node{number}.log").open("w") as log:
            if subprocess.run([*inside, *words, memory], stdout=log, stderr=log).returncode:
                raise SystemExit(f"node {number} did not start:\n{Path(log.name).read_text()}")
        yield Node(f"{address}:6379", inside, partial(kill_all_in, name))


@contextmanager
def several_nodes(count: int, notes: Path) -> Iterator[list[Node]]:
    """So many Ray nodes of one core each; the first is the head."""
    with ExitStack() as open_ones:
        if not may_make_namespaces():
            yield open_ones.enter_context(nodes_of_ray(count))
            return
        switch = open_ones.enter_context(bridge())
        nodes: list[Node] = []
        for number in range(1, count + 1):
            head = nodes[0].address if nodes else None
            nodes.append(open_ones.enter_context(node(number, switch, head, notes)))
        yield nodes


@contextmanager
def nodes_of_ray(count: int) -> Iterator[list[Node]]:
    """The same by Ray's own utility, all with the address of this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    others = [cluster.add_node(num_cpus=1) for _ in range(count - 1)]
    kills = [partial(cluster.remove_node, other, allow_graceful=False) for other in others]
    yield [Node(cluster.address, [], kill) for kill in (cluster.shutdown, *kills)]
    cluster.shutdown()


def read_by_ray(files: list[Path], out: Path, nodes: list[Node], then: Callable[[int], None] | None = None) -> Seen:
    """Read on a cluster, by a program that runs on its head; `then` hears of each file."""
    listed = out.with_suffix(".files")
    listed.write_text("\n".join(map(str, files)))
    words = [*nodes[0].inside, sys.executable, __file__, "inside", nodes[0].address, str(listed), str(out)]
    program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seen, progress = watched(0, then or (lambda _: None))
    assert program.stdout is not None
    for line in program.stdout:
        progress(int(line), len(files), file="")
    if program.wait():
        raise SystemExit(f"the reading on {len(nodes)} nodes ended with status {program.returncode}")
    return seen


def inside(address: str, listed: Path, out: Path) -> None:
    """What runs on the head: a line for each file that is answered."""
    from guarismo.cluster import joined
    from guarismo.results.bulk_ray import by_ray

    def progress(done: int, _: int, **facts: object) -> None:
        if "file" in facts:
            print(done, flush=True)

    with joined(address):
        read_all(listed.read_text().splitlines(), out, engine=by_ray, progress=progress)


def on_nodes(files: list[Path], folder: Path) -> bool:
    """Two nodes beside one, in turn, since other programs run: 1, 2, 2, 1."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn, count in enumerate((1, 2, 2, 1)):
        with several_nodes(count, folder) as nodes:
            rates[count].append(read_by_ray(files, folder / f"turn{turn}.parquet", nodes).rate)
    one, two = (sum(rates[count]) / 2 for count in (1, 2))
    print("| Ray nodes of one core | pages a second | turns |\n|---|---:|---|")
    print(f"| 1 | {one:.1f} | {rates[1][0]:.1f}, {rates[1][1]:.1f} |")
    print(f"| 2 | {two:.1f}, {two / one:.2f} times | {rates[2][0]:.1f}, {rates[2][1]:.1f} |\n")
    return two >= LEAST_GAIN * one


def with_a_kill(files: list[Path], expected: list[dict[str, Any]], folder: Path) -> bool:
    """A node killed half-way."""
    out, killed_at = folder / "killed.parquet", []

    with several_nodes(2, folder) as nodes:

        def kill(done: int) -> None:
            if done == len(files) // 2:
                nodes[1].kill()
                killed_at.append(done)

        read_by_ray(files, out, nodes, kill)
    found = rows(out)
    same = found == expected
    print(f"A node killed after {killed_at[0]:,} of {len(files):,} pages: {len(found):,} rows", end=", ")
    print("the same as without." if same else "not the same as without.")
    return same and len({row["file"] for row in found}) == len(files)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["here", "ray", "killed"])
    parser.add_argument("--pages", type=int, default=2000)
    parser.add_argument("--sample", type=int, default=400)
    asked = parser.parse_args()
    prepare(own="RAY_AUTH_TOKEN" not in os.environ)
    if asked.parts[0] == "inside":
        inside(asked.parts[1], Path(asked.parts[2]), Path(asked.parts[3]))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `timeout` too lets the blocks below end
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "pages").mkdir()
        files = draw_pages(folder / "pages", asked.pages)
        good = True
        if "here" in asked.parts:
            good, table = here(files, min(asked.sample, asked.pages), folder)
        elif "killed" in asked.parts:
            table = read_all(files, folder / "whole.parquet").out
        if "ray" in asked.parts:
            good &= on_nodes(files[: asked.sample], folder)
        if "killed" in asked.parts:
            good &= with_a_kill(files, rows(table), folder)
    sys.exit(not good)


if __name__ == "__main__":
    main()
