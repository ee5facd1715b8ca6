# One image; the command chooses the process: serve (the default), worker, migrate, …
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY . ./
RUN /app/bin/uv pip install --python /app --no-cache --no-deps --compile-bytecode .

FROM python:3.11-slim
RUN useradd --system --create-home --uid 10001 paygate
COPY --from=build /app /app
ENV PATH="/app/bin:$PATH" PYTHONUNBUFFERED=1 PAYGATE_HOST=0.0.0.0 PAYGATE_METRICS_HOST=0.0.0.0
USER paygate
WORKDIR /home/paygate
ENTRYPOINT ["paygate"]
CMD ["serve"]
