# The runner alone, on an image that has torch: a Jetson's, a Pi's, ROCm's. Its torch is used and never replaced.
#   docker build -f docker/runner.Dockerfile --build-arg BASE=YOUR/TORCH-IMAGE:TAG -t neuroflux-runner .
ARG BASE
# hadolint ignore=DL3006
FROM ${BASE}
WORKDIR /src
COPY . .
# --system-site-packages: the image's torch is seen; torch is no dependency of the package, so pip leaves it alone.
RUN python3 -c 'import torch' && python3 -m venv --system-site-packages /opt/neuroflux \
    && /opt/neuroflux/bin/pip install --no-cache-dir '.[runner,client]' && rm -rf /src/*
RUN useradd --system --uid 10001 --create-home neuroflux && install -d -o neuroflux -g neuroflux -m 0700 /work
ENV PATH=/opt/neuroflux/bin:$PATH
WORKDIR /work
USER 10001
ENTRYPOINT ["neuroflux"]
CMD ["--help"]
