# One image for every role: the same Python and the same Java on driver and executor. See docker-compose.yml.
FROM debian:bookworm-slim

RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      ca-certificates openjdk-17-jre-headless python3 python3-venv \
 && apt-get clean && rm -rf /var/lib/apt/lists/*

# State has one place, which is a volume; all else belongs to root, so that no server can change its own program.
RUN useradd --uid 1000 --create-home kira \
 && install -d -o kira -g kira -m 0700 /var/lib/kira

# As scripts/setup does it, with the same uv. Bytecode is made now: the user that runs cannot write it later.
ARG UV_VERSION=0.13.8
WORKDIR /opt/kira
COPY requirements.txt ./
RUN python3 -m venv .venv \
 && .venv/bin/python -m pip install -q --no-cache-dir --disable-pip-version-check "uv==$UV_VERSION" \
 && .venv/bin/python -m uv pip install -q --no-cache --compile-bytecode --require-hashes -r requirements.txt \
      --python .venv/bin/python

# Hadoop's server jar is fetched here, so that a container starts without a network.
COPY . ./
RUN mkdir -p plugins \
 && .venv/bin/python -m uv pip install -q --no-cache --no-deps --no-build-isolation -e . --python .venv/bin/python \
 && .venv/bin/python -m compileall -q kira dags plugins \
 && .venv/bin/python -c 'from pathlib import Path; from kira.stack import config, hadoop; hadoop.fetch_jar(config.StackConfig(Path("/opt/seed")))'

ENV PATH=/opt/kira/.venv/bin:$PATH \
    LANG=C.UTF-8 \
    USER=kira \
    KIRA_HOME=/var/lib/kira
USER kira
CMD ["/opt/kira/scripts/container"]
