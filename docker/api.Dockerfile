# The service. Build from the repository's root:
#   docker build -f docker/api.Dockerfile --target api -t neuroflux-api .
#   docker build -f docker/api.Dockerfile --target worker -t neuroflux-worker .
# The API has no torch; the worker, which measures, has.
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/neuroflux && /opt/neuroflux/bin/pip install --no-cache-dir '.[api,postgres]'

FROM build AS build-worker
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/neuroflux/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.13.0 \
    && /opt/neuroflux/bin/pip install --no-cache-dir '.[profiler]'

FROM python:3.11-slim AS base
RUN useradd --system --uid 10001 --create-home neuroflux && install -d -o neuroflux -g neuroflux -m 0700 /data
ENV PATH=/opt/neuroflux/bin:$PATH PYTHONUNBUFFERED=1 XDG_DATA_HOME=/data
USER 10001
VOLUME /data

FROM base AS worker
COPY --from=build-worker /opt/neuroflux /opt/neuroflux
CMD ["neuroflux", "serve", "--only", "worker", "--data-dir", "/data"]

FROM base AS api
COPY --from=build /opt/neuroflux /opt/neuroflux
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["neuroflux", "serve", "--only", "api", "--host", "0.0.0.0", "--data-dir", "/data", \
     "--admin-token-file", "/data/admin.token"]
