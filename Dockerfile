# SegDemo on a machine of one's own: docs/hosting.md says how. `docker build --build-arg TRAIN=yes` brings training too.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS files
ARG TRAIN=no
WORKDIR /app
COPY app.py LICENSE ./
COPY segdemo segdemo
COPY weights weights
RUN if [ "$TRAIN" != yes ]; then rm -r segdemo/training weights/*.weights.h5; fi

FROM python:${PYTHON}-slim
ARG TRAIN=no
WORKDIR /app
COPY requirements.txt requirements-serve.txt /tmp/
RUN if [ "$TRAIN" = yes ]; then list=requirements.txt; else list=requirements-serve.txt; fi && \
    pip install --no-cache-dir -r /tmp/$list
RUN useradd --create-home --uid 1000 segdemo && install -d -o segdemo /state
COPY --from=files /app /app
# Uploads and what Matplotlib remembers go to /tmp: nothing but /state and /tmp need be writable. Whoever hands requests on
# has an address of a network of this machine's, and says in X-Forwarded-For whose they are.
ENV SEGDEMO_HOME=/state \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    FORWARDED_ALLOW_IPS=127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16 \
    GRADIO_ANALYTICS_ENABLED=False \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER segdemo
VOLUME /state
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz', timeout=5)"]
CMD ["python", "app.py"]
