# One image for the API (its default), the worker and the set-up commands; see docker-compose.yml.
FROM python:3.11.14-slim-bookworm AS build

WORKDIR /build
COPY requirements-app.lock .
# The virtual environment gets no pip, and nothing is compiled from source.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --no-deps --require-hashes --requirement requirements-app.lock


FROM python:3.11.14-slim-bookworm

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin holdfast
WORKDIR /app
COPY --from=build /venv /venv
COPY ticketing ticketing
COPY activities activities
COPY workflows workflows
COPY api api
COPY worker.py .

# Compiled here, for the file system may be read-only later.
RUN /venv/bin/python -m compileall -q .
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    API_HOST=0.0.0.0 \
    API_PORT=8000 \
    LOG_FORMAT=json
USER 10001
EXPOSE 8000

# Alive, not ready: a database that is down is not cured by another container.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['API_PORT']}/healthz\", timeout=4)"]
CMD ["python", "-m", "api"]
