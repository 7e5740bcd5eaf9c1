# syntax=docker/dockerfile:1
# A server of compiled models (li compile), without torch: encoders lsa, tfidf, static and student, a
# user's own vectors, and networks that were exported (li compile --onnx).
#
#     docker build -t learned-index .
#     docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8080:8080 \
#       -v ./my-model:/models/my-model:ro learned-index
#
# --build-arg EXTRAS=
#   serve,static          the default: compiled models with any encoder that is no network
#   serve,static,runtime  compiled models whose network was exported, by ONNX Runtime
#   serve,train           models that are not compiled, with lsa or tfidf: torch, 2 GB and more
#   serve,minilm          the same with networks
# With torch, its CPU build saves 2 GB: --build-arg PIP_EXTRA_INDEX_URL=..., the address from PyTorch's
# installation page.
FROM python:3.12-slim AS build
ARG EXTRAS=serve,static
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY learned_index learned_index
COPY encoders encoders
COPY baselines baselines
COPY cli cli
RUN python -m venv /venv && /venv/bin/pip install -c constraints.txt ".[${EXTRAS}]"

FROM python:3.12-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin li \
 && mkdir -p /models /cache && chown li /cache
COPY --from=build /venv /venv
# Compiled kernels are kept here. Nothing else is written, so that a read-only file system will do;
# mount a volume to keep them from one container to the next.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=/cache
USER 10001
VOLUME /cache
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["li", "serve", "--host", "0.0.0.0"]
CMD ["--watch", "/models"]
