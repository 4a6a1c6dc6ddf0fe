"""Command lines of the stack's servers, and what each needs before it starts.

The local stack and the containers run the same ones: this is where they come from.
"""

import json
import sys
from pathlib import Path

from kira.stack import airflow_server, hadoop, postgresql
from kira.stack.config import StackConfig, write_private
from kira.stack.supervision import socket_path


def commands(config: StackConfig) -> dict[str, list[str]]:
    """Command lines of the servers that the local stack runs, by name, in the order in which they start."""
    found = {"s3": s3(config), "archive": archive(config)}
    if config.with_hdfs:
        found |= {role: hadoop.command(config, role) for role in ("namenode", "datanode1", "datanode2")}
    found["postgresql"] = postgresql.of_stack(config).command()
    return found | airflow_server.programs()


def s3(config: StackConfig) -> list[str]:
    """SeaweedFS: everything that an S3 server needs in one process, and none of its other services."""
    port, host, bind = config.ports, config.host("s3"), config.bind
    socket = config.home / "filer.sock" if config.contained else socket_path(config, "filer.sock")
    return [
        str(Path(sys.executable).with_name("weed")), "mini", f"-dir={config.home}/s3", f"-ip={host}",
        f"-ip.bind={bind}", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.config={config.home}/s3.json", "-s3.iam=false", "-master.telemetry=false",
        f"-filer.localSocket={socket}", "-master.volumeSizeLimitMB=1024",
        f"-s3.port={port['s3']}", f"-s3.port.grpc={port['s3_grpc']}",
        f"-master.port={port['s3_master']}", f"-master.port.grpc={port['s3_master_grpc']}",
        f"-volume.port={port['s3_volume']}", f"-volume.port.grpc={port['s3_volume_grpc']}",
        f"-filer.port={port['s3_filer']}", f"-filer.port.grpc={port['s3_filer_grpc']}",
        f"-admin.port={port['s3_admin']}", f"-admin.port.grpc={port['s3_admin_grpc']}",
    ]  # fmt: skip


def archive(config: StackConfig) -> list[str]:
    """What serves folders laid out like SDSS's archive over HTTP."""
    return [
        sys.executable, "-m", "kira.stack.archive_server", "--registry", str(config.registry),
        "--host", config.bind, "--port", str(config.ports["archive"]),
    ]  # fmt: skip


def prepare_s3(config: StackConfig) -> None:
    """Write who may use the S3 server, for nobody else to read."""
    secrets = config.secrets
    (config.home / "s3").mkdir(exist_ok=True, parents=True)
    identity = {
        "name": "kira",
        "credentials": [{"accessKey": secrets.s3_access_key, "secretKey": secrets.s3_secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(config.home / "s3.json", json.dumps({"identities": [identity]}))


def prepare_archive(config: StackConfig) -> None:
    """Have a list of what is served, though nothing may be on it yet."""
    config.registry.parent.mkdir(parents=True, exist_ok=True)
    if not config.registry.exists():
        config.registry.write_text("{}")


def prepare_namenode(config: StackConfig) -> None:
    """Have Hadoop's jar, its configuration, and a file system, which is empty at first."""
    prepare_datanode(config)
    hadoop.format_namenode(config)


def prepare_datanode(config: StackConfig) -> None:
    """Have Hadoop's jar and its configuration."""
    hadoop.fetch_jar(config)
    hadoop.write_configuration(config)
