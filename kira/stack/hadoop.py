"""A NameNode and DataNodes as processes, from Apache's Maven artifact.

`hadoop-client-minicluster` holds the servers; the client jars that it needs beside it come with PySpark. It is
fetched by Ivy, which PySpark bundles too, so that nobody has to install Maven; and checked against the checksum below.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from xml.sax.saxutils import escape

import pyspark
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.utils import CryptographyDeprecationWarning

from kira.errors import StackError
from kira.stack.config import StackConfig

VERSION = "3.5.0"
JAR = f"hadoop-client-minicluster-{VERSION}.jar"
JAR_SHA256 = "06772d24529e59939915979b3edba204d367750ef7dc5120411f35221dd4818c"
"""Of the artifact org.apache.hadoop:hadoop-client-minicluster:3.5.0; must match the client jars of PySpark."""

_PYSPARK_JARS = Path(pyspark.__file__).parent / "jars"
_NEEDED = ("hadoop-client-api", "hadoop-client-runtime", "slf4j-api", "jcl-over-slf4j", "log4j-", "javax.servlet-api")
# HDFS on one small machine: little memory, quick heartbeats, and nothing that looks up names of hosts.
_COMMON = {
    "dfs.replication": "2",
    "dfs.blocksize": "67108864",
    # DataNodes send packets of this length: with 64 KiB, the default, a reader spends a third more on the same bytes.
    "io.file.buffer.size": "1048576",
    "dfs.namenode.datanode.registration.ip-hostname-check": "false",
    "dfs.namenode.safemode.extension": "0",
    "dfs.namenode.redundancy.considerLoad": "false",
    "dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
    "dfs.heartbeat.interval": "1",
    "dfs.namenode.heartbeat.recheck-interval": "5000",
    "dfs.datanode.du.reserved": "0",
    # Else one file in three waits half a second to be closed, until a DataNode's word of its block has got through.
    "dfs.namenode.file.close.num-committed-allowed": "1",
    "dfs.permissions.superusergroup": "root",
    "hadoop.security.authorization": "false",
    # Other sites' pages in a browser must not send writes to the servers' pages (WebHDFS).
    "dfs.webhdfs.rest-csrf.enabled": "true",
}
_VISITOR = "visitor"
"""In whose name the NameNode's page looks at files; owns none. Nobody else is let in by way of WebHDFS, so that nothing
is written there: HDFS's clients, Kira's too, speak another protocol."""


def jar_path(config: StackConfig) -> Path:
    """Where the server jar is kept."""
    return config.home / "hadoop" / JAR


def fetch_jar(config: StackConfig) -> Path:
    """Get the server jar, unless it is there.

    Raises
    ------
    StackError
        If it cannot be fetched, or is not the file it should be.
    """
    otherwise = f"stage to a folder instead: make run STAGE=file://{config.home}/stage"
    if config.contained:
        otherwise = "build the image anew, which has it: make compose-up"
    return fetch(
        jar_path(config), "org.apache.hadoop", "hadoop-client-minicluster", VERSION, JAR_SHA256, otherwise
    )  # fmt: skip


def fetch(target: Path, organisation: str, name: str, version: str, sha256: str, otherwise: str) -> Path:
    """Get a jar from Maven Central, unless it is there.

    Parameters
    ----------
    target : Path
        Its name is that of the artifact, `name-version.jar`.
    organisation, name, version, sha256 : str
        Of the artifact.
    otherwise : str
        What to do where it cannot be had.
    """
    if target.exists() and _sha256(target) == sha256:
        return target
    ivy = next(_PYSPARK_JARS.glob("ivy-*.jar"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [
            "java", *_trust(Path(folder)), "-jar", str(ivy), "-cache", f"{folder}/cache", "-confs", "master",
            "-types", "jar", "-dependency", organisation, name, version,
            "-retrieve", f"{folder}/[artifact]-[revision].[ext]",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        fetched = Path(folder) / target.name
        if done.returncode or not fetched.exists():
            raise StackError(
                f"A jar of Hadoop's servers (Maven artifact {organisation}:{name}:{version}) could not be fetched from "
                f"Maven Central. Check the network, or {otherwise}"
            )
        if (found := _sha256(fetched)) != sha256:
            raise StackError(
                f"{target.name} came with SHA-256 {found} instead of {sha256}: not the file that was tested."
            )
        shutil.move(fetched, target)
    return target


def _trust(folder: Path) -> list[str]:
    """Options that let Java trust what SSL_CERT_FILE names; behind some networks its own store is not enough."""
    bundle = os.environ.get("SSL_CERT_FILE")
    if not bundle or not Path(bundle).is_file():
        return []
    with warnings.catch_warnings():
        # Some old authorities' certificates are not quite as the standard wants them; Java is the one to judge.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        found = x509.load_pem_x509_certificates(Path(bundle).read_bytes())
    certificates = [pkcs12.PKCS12Certificate(one, f"ca-{number}".encode()) for number, one in enumerate(found)]
    store = folder / "trust.p12"
    password = b"public certificates only"
    encryption = serialization.BestAvailableEncryption(password)
    store.write_bytes(pkcs12.serialize_java_truststore(certificates, encryption))
    return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={password.decode()}"]


def classpath(config: StackConfig, role: str, *more: Path) -> str:
    """Class path of a server: its configuration, the server jar, what comes with PySpark, and more jars."""
    jars = [str(p) for p in sorted(_PYSPARK_JARS.glob("*.jar")) if p.name.startswith(_NEEDED)]
    return ":".join([str(folder(config, role)), str(jar_path(config)), *jars, *map(str, more)])


def write_configuration(config: StackConfig) -> None:
    """Write the XML files of NameNode and DataNodes."""
    ports, data = config.ports, config.home / "hdfs"
    name_node = f"{config.host('namenode')}:{ports['namenode']}"
    shared = _COMMON | {"fs.defaultFS": f"hdfs://{name_node}", "dfs.namenode.rpc-address": name_node}
    write(config, "namenode", shared | {
        "dfs.namenode.name.dir": (data / "namenode").as_uri(),
        "dfs.namenode.http-address": f"{config.host('namenode')}:{ports['namenode_http']}",
        "dfs.namenode.rpc-bind-host": config.bind,
        "dfs.namenode.http-bind-host": config.bind,
        "hadoop.http.staticuser.user": _VISITOR,
        "dfs.webhdfs.user.provider.user.pattern": f"^{_VISITOR}$",
    })  # fmt: skip
    for role in ("datanode1", "datanode2"):
        write(config, role, shared | {
            "dfs.datanode.data.dir": (data / role).as_uri(),
            "dfs.datanode.hostname": config.own_host,
            "dfs.datanode.address": f"{config.bind}:{ports[role]}",
            "dfs.datanode.ipc.address": f"{config.bind}:{ports[role + '_ipc']}",
            "dfs.datanode.http.address": f"{config.bind}:{ports[role + '_http']}",
        })  # fmt: skip


def command(config: StackConfig, role: str) -> list[str]:
    """Command line of one server."""
    kind = "namenode.NameNode" if role == "namenode" else "datanode.DataNode"
    return java(config, role, f"org.apache.hadoop.hdfs.server.{kind}")


def java(config: StackConfig, role: str, name: str, *more: Path) -> list[str]:
    """Command line of a server by its class; `more` are jars that it needs."""
    return [
        "java", "-Xmx384m", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true",
        f"-Dlog4j2.configurationFile={folder(config, role) / 'log4j2.properties'}",
        "-cp", classpath(config, role, *more), name,
    ]  # fmt: skip


def format_namenode(config: StackConfig) -> None:
    """Make an empty file system, unless there is one."""
    if (config.home / "hdfs" / "namenode" / "current" / "VERSION").exists():
        return
    done = subprocess.run(
        [*command(config, "namenode"), "-format", "-nonInteractive"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        raise StackError(f"The NameNode could not be formatted: {(done.stdout + done.stderr).strip()[-500:]}")


def folder(config: StackConfig, role: str) -> Path:
    """Where the configuration of a server is."""
    return config.home / "hadoop" / role


def write(config: StackConfig, role: str, properties: dict[str, str]) -> None:
    """Write the configuration of a server, under all the names that Hadoop's parts look for."""
    target = folder(config, role)
    target.mkdir(parents=True, exist_ok=True)
    lines = "".join(
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in properties.items()
    )
    for name in ("core-site.xml", "hdfs-site.xml", "yarn-site.xml", "capacity-scheduler.xml"):
        (target / name).write_text(f"<configuration>\n{lines}</configuration>\n")
    (target / "log4j2.properties").write_text(
        "appender.console.type = Console\n"
        "appender.console.name = console\n"
        "appender.console.layout.type = PatternLayout\n"
        "appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n\n"
        "rootLogger.level = info\n"
        "rootLogger.appenderRef.console.ref = console\n"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
