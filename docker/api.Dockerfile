# The service. Build from the repository's root:
#   docker build -f docker/api.Dockerfile --target api -t neuroflux-api .
#   docker build -f docker/api.Dockerfile --target worker -t neuroflux-worker .
# The API has no torch; the worker, which measures, has. Every package has the version of requirements.lock. What is
# installed depends on pyproject.toml and the lock alone, so a change of the source leaves those layers as they are.
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/neuroflux
COPY pyproject.toml requirements.lock docker/wanted.py ./
RUN python wanted.py pyproject.toml api postgres > wanted.txt \
    && /opt/neuroflux/bin/pip install -c requirements.lock -r wanted.txt

FROM build AS build-api
COPY . .
RUN /opt/neuroflux/bin/pip install --no-deps --no-build-isolation .

FROM build AS build-worker
# Beside PyPI: the build that the lock's version of torch has there, +cpu, is preferred.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/neuroflux/bin/pip install -c requirements.lock --extra-index-url "$TORCH_INDEX" torch
COPY . .
RUN /opt/neuroflux/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim AS base
RUN useradd --system --uid 10001 --create-home neuroflux && install -d -o neuroflux -g neuroflux -m 0700 /data
ENV PATH=/opt/neuroflux/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_DATA_HOME=/data XDG_CACHE_HOME=/data/cache
USER 10001
VOLUME /data

FROM base AS worker
COPY --from=build-worker /opt/neuroflux /opt/neuroflux
# It has no port; while its database answers it touches a file every few seconds.
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, sys, time; sys.exit(time.time() - os.stat('/data/worker.alive').st_mtime > 60)"]
CMD ["neuroflux", "serve", "--only", "worker", "--data-dir", "/data"]

FROM base AS api
COPY --from=build-api /opt/neuroflux /opt/neuroflux
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["neuroflux", "serve", "--only", "api", "--host", "0.0.0.0", "--data-dir", "/data", \
     "--admin-token-file", "/data/admin.token"]
