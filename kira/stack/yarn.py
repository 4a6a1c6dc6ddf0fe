"""YARN on one machine: a ResourceManager and NodeManagers from the same jar as HDFS's servers.

What is here configures them and tells their commands; tests start them.
`HADOOP_CONF_DIR` of whoever submits a job is `client_folder`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from kira.stack import hadoop
from kira.stack.config import HOST, StackConfig

RESOURCE_MANAGER = "resourcemanager"
_BOUNCY_CASTLE = "1.82"
_JARS = {
    "bcprov-jdk18on": "14cde2fdfaa8890480a8e5b67aceef0c90f96682c1e23c133bafdc9e0b3255ce",
    "bcutil-jdk18on": "4420691958ad1c0ba275a6d6d8a6317adbdbdc9277055b6a72aa89c88cda8c7d",
    "bcpkix-jdk18on": "bdc723e20834832ac6af136cb5b5ff05e43b71d4fa151cc6510d9212ee086e63",
}
"""A ResourceManager makes certificates with it; of what it needs, only that is not in Hadoop's server jar."""
_PORTS = ("address", "scheduler.address", "resource-tracker.address", "admin.address", "webapp.address")
_NODE_PORTS = ("address", "localizer.address", "webapp.address")


def node(number: int) -> str:
    """Role of a NodeManager; the first is number 1."""
    return f"nodemanager{number}"


@dataclass(frozen=True)
class Yarn:
    """A ResourceManager and NodeManagers beside the HDFS of a stack.

    Parameters
    ----------
    config : StackConfig
        Of a stack with HDFS: containers are given their files by way of it.
    ports : list of int
        `port_count` of them.
    nodes : int
        NodeManagers.
    memory_mb, cores : int
        What each of them has for containers.
    """

    config: StackConfig
    ports: list[int]
    nodes: int = 2
    memory_mb: int = 3072
    cores: int = 2

    @staticmethod
    def port_count(nodes: int = 2) -> int:
        """How many ports it needs."""
        return len(_PORTS) + nodes * len(_NODE_PORTS)

    @property
    def page(self) -> str:
        """Address of the ResourceManager's pages and REST API."""
        return f"http://{HOST}:{self.ports[len(_PORTS) - 1]}"

    @property
    def client_folder(self) -> Path:
        """Folder of what clients have to know: HADOOP_CONF_DIR."""
        return hadoop.folder(self.config, RESOURCE_MANAGER)

    @property
    def roles(self) -> list[str]:
        """Names of the servers."""
        return [RESOURCE_MANAGER, *(node(number) for number in range(1, self.nodes + 1))]

    def fetch_jars(self) -> None:
        """Get what YARN's servers need."""
        hadoop.fetch_jar(self.config)
        for path, (name, sha256) in zip(self._jars, _JARS.items(), strict=True):
            hadoop.fetch(path, "org.bouncycastle", name, _BOUNCY_CASTLE, sha256, "do without YARN.")

    @property
    def _jars(self) -> list[Path]:
        folder = hadoop.jar_path(self.config).parent
        return [folder / f"{name}-{_BOUNCY_CASTLE}.jar" for name in _JARS]

    def write_configuration(self) -> None:
        """Write the XML files of all servers."""
        shared = {
            f"yarn.resourcemanager.{name}": f"{HOST}:{port}" for name, port in zip(_PORTS, self.ports, strict=False)
        } | {
            "fs.defaultFS": self.config.stage_url.rpartition("/")[0],
            "yarn.resourcemanager.hostname": HOST,
            "yarn.resourcemanager.bind-host": HOST,
            "yarn.resourcemanager.nodes.include-path": "",
            "yarn.scheduler.minimum-allocation-mb": "128",
            "yarn.scheduler.maximum-allocation-mb": str(self.memory_mb),
            # Half a minute to notice a dead node instead of ten; what counts as long on a large cluster does not here.
            "yarn.nm.liveness-monitor.expiry-interval-ms": "30000",
            "yarn.am.liveness-monitor.expiry-interval-ms": "30000",
            "yarn.scheduler.capacity.root.queues": "default",
            "yarn.scheduler.capacity.root.default.capacity": "100",
            "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
        }  # fmt: skip
        hadoop.write(self.config, RESOURCE_MANAGER, shared)
        for number in range(1, self.nodes + 1):
            data = self.config.home / "yarn" / node(number)
            first = len(_PORTS) + (number - 1) * len(_NODE_PORTS)
            own = zip(_NODE_PORTS, self.ports[first : first + len(_NODE_PORTS)], strict=True)
            hadoop.write(self.config, node(number), shared | {
                f"yarn.nodemanager.{name}": f"{HOST}:{port}" for name, port in own
            } | {
                "yarn.nodemanager.hostname": HOST,
                "yarn.nodemanager.bind-host": HOST,
                "yarn.nodemanager.local-dirs": str(data / "local"),
                "yarn.nodemanager.log-dirs": str(data / "logs"),
                "yarn.nodemanager.resource.memory-mb": str(self.memory_mb),
                "yarn.nodemanager.resource.cpu-vcores": str(self.cores),
                # Java reserves address space that it never uses.
                "yarn.nodemanager.vmem-check-enabled": "false",
                # The disk is the user's own, and as full as it is; above 90 % a node would take no work.
                "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "100",
            })  # fmt: skip

    def command(self, role: str) -> list[str]:
        """Command line of one server."""
        kind = "resourcemanager.ResourceManager" if role == RESOURCE_MANAGER else "nodemanager.NodeManager"
        return hadoop.java(self.config, role, f"org.apache.hadoop.yarn.server.{kind}", *self._jars)

    def environment(self, role: str) -> dict[str, str]:
        """What a server needs in its environment beside what it inherits."""
        folder = hadoop.folder(self.config, role)
        return {"HADOOP_CONF_DIR": str(folder), "YARN_CONF_DIR": str(folder), "HADOOP_HOME": os.fspath(folder)}
