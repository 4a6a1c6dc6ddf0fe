# One image for every role: the same Python and the same Java on driver and executor. See docker-compose.yml.
FROM debian:bookworm-slim

# The queue between Airflow's scheduler and its workers is Redis; what else there is comes from PyPI and Maven Central.
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      ca-certificates openjdk-17-jre-headless procps python3 python3-venv redis-server \
 && apt-get clean && rm -rf /var/lib/apt/lists/*

# State has one place, of which each role has its own folder as a volume; a new volume takes its owner from here. All
# else belongs to root, so that no server can change its own program.
RUN useradd --uid 1000 --create-home kira \
 && for folder in "" /s3 /hdfs /hdfs/namenode /hdfs/datanode1 /queue /archive /logs /logs/tasks /spark /hadoop; do \
      install -d -o kira -g kira -m 0700 "/var/lib/kira$folder"; done

# As scripts/setup does it, with the same uv. Bytecode is made now: the user that runs cannot write it later.
ARG UV_VERSION=0.13.8
WORKDIR /opt/kira
COPY requirements.txt ./
RUN python3 -m venv .venv \
 && .venv/bin/python -m pip install -q --no-cache-dir --disable-pip-version-check "uv==$UV_VERSION" \
 && .venv/bin/python -m uv pip install -q --no-cache --compile-bytecode --require-hashes -r requirements.txt \
      --python .venv/bin/python

COPY pyproject.toml requirements.in README.md LICENSE ./
COPY kira kira
# A checkout has the modes of its owner's umask, which may let nobody else read. Not .venv, which would be in two layers.
RUN find . -name .venv -prune -o -exec chmod a+rX {} + \
 && .venv/bin/python -m uv pip install -q --no-cache --no-deps --no-build-isolation -e . --python .venv/bin/python \
 && .venv/bin/python -m compileall -q kira

ENV PATH=/opt/kira/.venv/bin:$PATH \
    LANG=C.UTF-8 \
    USER=kira \
    KIRA_HOME=/var/lib/kira
USER kira
# Hadoop's server jar is fetched here, so that a container starts without a network; and the kernels are compiled for
# this processor: on another one the first worker compiles its own.
RUN python -c 'from pathlib import Path; from kira.stack import config, hadoop; hadoop.fetch_jar(config.StackConfig(Path("/var/lib/kira")))' \
 && python -m kira.extraction.compiled

USER root
COPY . ./
RUN find . -name .venv -prune -o -exec chmod a+rX {} +
USER kira

# Which code this is: there is no git in the image. Last, because each commit has another.
ARG KIRA_COMMIT=
ENV KIRA_COMMIT=$KIRA_COMMIT
