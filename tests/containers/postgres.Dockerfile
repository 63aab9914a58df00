# Postgres from Debian's packages and the programs of one version: what the official images do, as far as the tests need it.
ARG BASE
FROM ${BASE}
COPY native /usr/local/postgres
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
RUN useradd --system --uid 999 --home-dir /var/lib/postgresql --create-home postgres
ENV PATH=/usr/local/postgres/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
EXPOSE 5432
# A fast shutdown.
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
