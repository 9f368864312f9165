# syntax=docker/dockerfile:1

FROM python:3.11-slim AS build

# Extras to install, after commas: docker build --build-arg EXTRAS=cluster .
ARG EXTRAS=""
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY core ./core
COPY http ./http
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".${EXTRAS:+[$EXTRAS]}" \
    && python -m venv /opt/observability \
    && /opt/observability/bin/pip install --no-cache-dir --no-index --find-links /wheels "observability${EXTRAS:+[$EXTRAS]}"


FROM python:3.11-slim

# The same user id everywhere, so that a volume written by one version can be read by the next.
RUN groupadd --gid 10001 observability \
    && useradd --uid 10001 --gid observability --no-create-home --shell /usr/sbin/nologin observability \
    && install --directory --owner observability --group observability /data /logs

COPY --from=build /opt/observability /opt/observability

# A container's loopback is its own; to be reachable, the server listens on every address of the container.
ENV PATH="/opt/observability/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    API_HOST=0.0.0.0 \
    API_PORT=8000 \
    DATA_DIR=/data

# By number, so that a cluster can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM

# Without a proxy: the environment may name one, and it cannot reach this address. Without verification: with TLS the
# certificate is issued for the public name, not for this address.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; https = r.HTTPSHandler(context=ssl._create_unverified_context()); scheme = 'https' if os.environ.get('TLS_CERT') else 'http'; r.build_opener(r.ProxyHandler({}), https).open(scheme + '://127.0.0.1:' + os.environ['API_PORT'] + '/health/live', timeout=4)"]

CMD ["observability", "serve"]
