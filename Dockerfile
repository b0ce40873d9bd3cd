# animdiff in a container, with Ray and the storage systems:
#
#   docker build -t animdiff .                                 for the CPU
#   docker build -t animdiff:cu128 --build-arg VARIANT=cu128 . for NVIDIA GPUs
#   docker run --rm -v animdiff:/cache -v "$PWD:/work" animdiff generate --model pocket --prompt "a red rocket"
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
# cpu, or the CUDA version of a build of PyTorch: cu126, cu128 …
ARG VARIANT=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/${VARIANT}
ARG EXTRAS=cluster,remote
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE /src/
COPY animdiff_cli /src/animdiff_cli
COPY presets /src/presets
RUN python -m venv /opt/animdiff
# torchvision is for the extra `control`, and must be of the same build as torch
RUN /opt/animdiff/bin/pip install --no-cache-dir --constraint /src/constraints.txt --index-url "$TORCH_INDEX" torch torchvision
# KubeRay submits the batch to the dashboard, which needs `ray[default]`
RUN /opt/animdiff/bin/pip install --no-cache-dir --constraint /src/constraints.txt "/src[$EXTRAS]" "ray[default]"

FROM python:${PYTHON}-slim
# KubeRay asks a node for its health with wget
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 animdiff \
    && mkdir -p /cache /work \
    && chown animdiff /cache /work
COPY --from=build /opt/animdiff /opt/animdiff
ENV PATH=/opt/animdiff/bin:$PATH \
    ANIMDIFF_MODELS=/cache/models \
    ANIMDIFF_CACHE=/cache/cache \
    HF_HOME=/cache/huggingface
VOLUME /cache
WORKDIR /work
USER animdiff
ENTRYPOINT ["animdiff"]
CMD ["--help"]
