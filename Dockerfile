# syntax=docker/dockerfile:1

# Both stages stand on the same image: a virtual environment holds the path of its interpreter.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# pip works from outside, so that the image that is shipped has none.
RUN python -m venv --without-pip /opt/palaver
COPY requirements.lock ./
RUN pip --python /opt/palaver/bin/python install --require-hashes --only-binary :all: -r requirements.lock
# Drivers beside those of the embedded database: --build-arg EXTRAS=postgres,redis
ARG EXTRAS=""
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN pip --python /opt/palaver/bin/python install --no-deps --no-build-isolation . \
    && if [ -n "$EXTRAS" ]; then pip --python /opt/palaver/bin/python install --only-binary :all: "palaver[$EXTRAS]"; fi \
    && /opt/palaver/bin/palaver --help > /dev/null

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Palaver" \
      org.opencontainers.image.description="A self-hosted Open API for chat bots" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 palaver \
    && useradd --system --uid 10001 --gid palaver --home-dir /data --no-create-home --shell /usr/sbin/nologin palaver \
    && install --directory --owner palaver --group palaver --mode 0700 /data
COPY --from=build /opt/palaver /opt/palaver
ENV PATH=/opt/palaver/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PALAVER_DATA_DIR=/data \
    PALAVER_HOST=0.0.0.0 \
    PALAVER_PORT=6185
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 6185
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['PALAVER_PORT']}/health\", timeout=4)"]
ENTRYPOINT ["palaver"]
CMD ["serve"]
