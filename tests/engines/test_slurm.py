"""Kernels in the jobs of a real Slurm with two nodes."""
import contextlib
import json
import os
import signal

import pytest

from tests.admin.helpers import run
from tests.engines import conversation
from tests.server.test_kernel_death import is_death
from tests.support.embedded import make_embedded_kernel
from tests.support.serving import information, join_pool, kernel_facts, kernel_id, kernels, ready_kernels, serving
from tools.harness import engines, processes
from tools.harness.fake_kernel.codec import Function
from tools.harness.server import pool
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.client.parallel import KernelExecutor


def jobs_of(kernel, node, minimum=1, options="", **keys):
    """A pool whose kernels are jobs on one node, with further options of srun."""
    launcher = f"srun -n1 --mem=100M -w {node} --job-name={{pool}}-{{id}} {options}".rstrip()
    agent = engines.interpreter()
    keys = {"ReservePreviouslyConnectedKernels": False, "MaximumKernelNumber": minimum + 1, **keys}
    return pool(kernel, MinimumKernelNumber=minimum, KernelLauncher=launcher, KernelAgent=agent, **keys)


@pytest.fixture(scope="module")
def server(slurm, kernel, tmp_path_factory):
    """Two pools of two kernels, one for each node; one each on node3 and node4, one whose jobs may take a minute, and
    one of parallel kernels, of which a node has room for two. Clients get no kernel before they ask for one.
    """
    parallel = {"KernelLauncher": "srun -n1 -c12", "KernelAgent": engines.interpreter(), "ParallelKernels": True}
    pools = {
        "First": jobs_of(kernel, "node1", 2), "Second": jobs_of(kernel, "node2", 2),
        "Apart": jobs_of(kernel, "node3", 1, "-p apart"), "Gone": jobs_of(kernel, "node4", 1, "-p apart"),
        "Limited": jobs_of(kernel, "node2", 1, "-t 1"), "Both": pool(kernel, MinimumKernelNumber=4, **parallel),
    }  # fmt: skip
    configuration = {"Pools": pools, "EnableAutomaticKernelConnection": False}
    with serving(tmp_path_factory.mktemp("server"), configuration, environment=slurm.environment) as running:
        ready_kernels(running, 11, 120.0)
        yield running


@pytest.fixture(scope="module", autouse=True)
def begun(server, slurm):
    """(link, job) of kernels that Slurm ends while the other tests run: it takes half a minute to notice that the time
    of a job is over, and some seconds that a node is gone; the agent takes half a minute to notice that a node has lost
    its slurmd.
    """
    with contextlib.ExitStack() as links:
        made = {}
        for pool_name in ("Limited", "Apart", "Gone"):
            link = links.enter_context(join_pool(server, pool_name, timeout=240.0))
            made[pool_name] = link, (job := Job(slurm, link, pool_name))
            for process in (job.agent, job.kernel):  # at the end the server does not wait for what no test has seen end
                links.callback(kill_what_is_left, os.pidfd_open(process))
        slurm.run("scontrol", "update", f"JobId={made['Limited'][1].number}", "EndTime=now")
        slurm.nodes["node3"].kill()
        slurm.nodes["node4"].kill()
        gone = made["Gone"][1]
        engines.signal_all([processes.parent(gone.agent), gone.agent, gone.kernel])
        yield made


def kill_what_is_left(descriptor):
    """Kill the process of this descriptor, if it still runs."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    os.close(descriptor)


@pytest.mark.parametrize(("pool_name", "node"), [("First", "node1"), ("Second", "node2")])
def test_everything(server, slurm, pool_name, node):
    with join_pool(server, pool_name) as link:
        facts = kernel_facts(link, pool_name)
        assert facts["Host"] == node
        assert facts["Launcher"] == f"srun -n1 --mem=100M -w {node} --job-name={pool_name}-{facts['ID']}"
        assert facts["HostProcessID"] == link.evaluate(Function("KernelProcess"))
        assert slurm.jobs()[f"{pool_name}-{facts['ID']}"][1] == "RUNNING"
        conversation.evaluations(link, 1000)
        conversation.unicode(link)
        conversation.output_while_it_happens(link)
        conversation.dialog(link)
        conversation.large(link, 1_250_000)
        conversation.send_large(link, 1_000_000)
        conversation.abort_among_bulk(link, 100_000_000)
        conversation.come_back(server, link)


class Job:
    """The processes of the kernel of a link, on both sides."""

    def __init__(self, slurm, link, pool_name):
        facts = kernel_facts(link, pool_name)
        self.slurm = slurm
        self.kernel = facts["HostProcessID"]
        self.agent = processes.parent(self.kernel)
        self.connector = facts["ProcessID"]
        (self.launcher,) = processes.children(self.connector)
        self.name = f"{pool_name}-{facts['ID']}"
        self.number = slurm.jobs()[self.name][0]

    def assert_nothing_left(self, deadline=60.0):
        for pid in (self.kernel, self.agent, self.connector, self.launcher):
            wait_gone(pid, deadline)
        wait_for(lambda: self.name not in self.slurm.jobs(), 60.0, f"{self.name} to leave the queue", 0.1)


def end_job(job):
    job.slurm.run("scancel", str(job.number))


def kill_launcher(job):
    os.kill(job.launcher, signal.SIGKILL)


def kill_agent(job):
    os.kill(job.agent, signal.SIGKILL)


def kill_kernel(job):
    os.kill(job.kernel, signal.SIGKILL)


#: What is done, and what the client is told.
ENDS = {
    "its job is cancelled": (end_job, ["CANCELLED"]),
    "srun is killed": (kill_launcher, ["srun", "signal 9 (SIGKILL)"]),
    "the agent is killed": (kill_agent, ["srun: error: node1: task 0: Killed"]),
    "it is killed": (kill_kernel, ["died: signal 9 (SIGKILL)"]),
}


@pytest.mark.parametrize("way", ENDS)
def test_end_of_a_kernel(server, slurm, way):
    end, words = ENDS[way]
    with join_pool(server, "First") as link:
        job = Job(slurm, link, "First")
        end(job)
        packet = link.get_packet()
        assert is_death(packet) and all(word in packet[1] for word in words), packet
        assert link.at_end()
        job.assert_nothing_left()
    with server.connect() as link:  # the pool is filled up again
        wait_for(lambda: len(kernels(link, "First")) >= 2, 60.0, lambda: kernels(link, "First"), 0.1)


def test_jobs_in_the_queue(slurm, kernel, tmp_path):
    """A job that waits is a kernel that is starting, with the engine's line; it is cancelled with the server."""
    keys = jobs_of(kernel, "node2", 2, "--begin=now+1hour")
    configuration = {"Pools": {"Patient": keys}, "EnableAutomaticKernelConnection": False}

    def waiting():
        found = kernels(link, "Patient").values()
        return [each for each in found if each["State"] == "starting" and "queued" in each.get("LastOutput", "")]

    with serving(tmp_path, configuration, environment=slurm.environment) as server, server.connect() as link:
        wait_for(lambda: len(waiting()) == 2, 60.0, lambda: kernels(link, "Patient"), 0.05)
        first, _ = waiting()
        number, state = slurm.jobs()[f"Patient-{first['ID']}"]
        assert first["LastOutput"] == f"srun: job {number} queued and waiting for resources"
        assert (state, first["Host"], first["HostProcessID"]) == ("PENDING", "", None)
        code, report, _ = run("--server", f"{server.port}@127.0.0.1", "status")
        assert code == 0
        assert f"{first['ID']}: {first['LastOutput']}" in report
        slurm.run("scontrol", "update", f"JobId={number}", "StartTime=now")
        with join_pool(server, "Patient") as other:
            assert kernel_id(other) == first["ID"]
            wait_for(lambda: kernel_facts(other, "Patient").get("Memory"), 60.0, "the memory of the kernel", 0.1)
            code, report, _ = run("--server", f"{server.port}@127.0.0.1", "status", "--json")
            (told,) = [each for each in json.loads(report)["Pools"]["Patient"]["Kernels"] if each["ID"] == first["ID"]]
            assert (told["Host"], told["Launcher"].partition(" ")[0]) == ("node2", "srun"), told
        assert [job for name, job in slurm.jobs().items() if name.startswith("Patient")]
    wait_for(lambda: not any(name.startswith("Patient") for name in slurm.jobs()), 60.0, slurm.jobs, 0.05)


def test_embedded_kernels(slurm, tmp_path):
    """One on each of two nodes. KernelPath is found where the job runs; through srun, 100 MB pass, there and back."""
    folder = make_embedded_kernel(tmp_path).parent
    keys = {"KernelAgent": engines.interpreter(), "MinimumKernelNumber": 1, "KernelStartTimeout": 300,
            "KeepAlive": True, "ReservePreviouslyConnectedKernels": False}  # fmt: skip
    environment = {**slurm.environment, "PATH": f"{folder}:{os.environ['PATH']}"}
    pools = {node: {**keys, "KernelLauncher": f"srun -n1 -w {node}"} for node in ("node1", "node2")}
    configuration = {"Pools": pools, "EnableAutomaticKernelConnection": False}
    with serving(tmp_path, configuration, environment=environment) as server:
        ready_kernels(server, 2, 300.0)
        for node in pools:
            with join_pool(server, node) as link:
                assert link.evaluate(conversation.typed('Environment["SLURMD_NODENAME"]')) == node
                assert information(link)["Pools"][node]["KernelPath"] == "automatic"
                conversation.evaluations(link, 100)
                if node == "node1":
                    conversation.everything_embedded(server, link, 12_500_000)


def test_an_executor(server):
    """Each of its four kernels takes its part, two on each node."""
    where = 'List[Environment["SLURMD_NODENAME"], KernelProcess[]]'
    with KernelExecutor(f"{server.port}@127.0.0.1", 4, kernel_timeout=60.0, keep_kernels=True) as executor:
        assert list(executor.map("Plus", range(100), range(100), timeout=120.0)) == list(range(0, 200, 2))
        kernels = set()

        def all_took_part():
            told = [executor.submit(where) for _ in range(20)]
            kernels.update(tuple(each.result(120.0)) for each in told)
            return len(kernels) == 4

        wait_for(all_took_part, 60.0, lambda: f"four kernels to take part: {kernels}")
        assert sorted(node for node, _ in kernels) == ["node1", "node1", "node2", "node2"]


#: A pool whose job Slurm ends, what srun says, and the seconds until nothing is left of it: what runs on a node without
#: slurmd ends when nothing was heard of the server for 30 seconds.
ENDS_OF_JOBS = {
    "the time of its job is over": ("Limited", "DUE TO TIME LIMIT", 60.0),
    "slurmd of its node is killed": ("Apart", "srun: error: Node failure on node3", 120.0),
    "its node dies with all that runs there": ("Gone", "srun: error: Node failure on node4", 60.0),
}


@pytest.mark.parametrize("what", ENDS_OF_JOBS)
def test_end_of_a_job(begun, what):
    pool_name, words, deadline = ENDS_OF_JOBS[what]
    link, job = begun[pool_name]
    packet = link.get_packet()
    assert is_death(packet) and words in packet[1], packet
    assert link.at_end()
    job.assert_nothing_left(deadline)
