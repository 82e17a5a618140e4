# The runner alone, on an image that has torch: a Jetson's, a Pi's, ROCm's. Its torch is used and never replaced.
#   docker build -f docker/runner.Dockerfile --build-arg BASE=YOUR/TORCH-IMAGE:TAG -t neuroflux-runner .
# A device reaches the service like any other program: it needs no port of its own.
#   docker run --rm -v neuroflux:/home/neuroflux/.config neuroflux-runner enroll https://bench.example --token …
#   docker run --rm --gpus all --memory 4g -v neuroflux:/home/neuroflux/.config -v "$PWD":/work neuroflux-runner \
#       run https://bench.example/v1/plans/ID --data /work/data --out /work/out --report-to https://bench.example
ARG BASE
# hadolint ignore=DL3006
FROM ${BASE}
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml requirements.lock docker/wanted.py ./
# --system-site-packages: the image's torch is seen; torch is no dependency of the package, so pip leaves it alone. numpy
# is the image's too where it has one, since its torch was built against that.
RUN python3 -c 'import torch' && python3 -m venv --system-site-packages /opt/neuroflux \
    && python3 wanted.py pyproject.toml client > wanted.txt && grep -v '^numpy==' requirements.lock > versions.txt \
    && /opt/neuroflux/bin/pip install -c versions.txt -r wanted.txt
COPY . .
RUN /opt/neuroflux/bin/pip install --no-deps --no-build-isolation . && rm -rf /src/*
RUN useradd --system --uid 10001 --create-home neuroflux \
    && install -d -o neuroflux -g neuroflux -m 0700 /work /home/neuroflux/.config
ENV PATH=/opt/neuroflux/bin:$PATH
WORKDIR /work
USER 10001
ENTRYPOINT ["neuroflux"]
CMD ["--help"]
