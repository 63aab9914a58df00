# The daemon in a container: `docker build -t webhookdb-notifications .`
#
# Base images are named by argument, so that it can be built where no registry is reached. --build-arg PREBUILT=yes takes
# target/prebuilt/webhookdb instead of compiling; it must suit the runtime image's libc.
ARG RUST_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS program
ARG PREBUILT=no
WORKDIR /source
COPY . .
RUN if [ "$PREBUILT" = yes ]; then \
        install -D target/prebuilt/webhookdb /program/webhookdb; \
    else \
        cargo build --release --locked --bin webhookdb && install -D -s target/release/webhookdb /program/webhookdb; \
    fi

FROM ${RUNTIME_IMAGE}
# The roots of trust, for endpoints and databases; an image that has them needs no network here.
ARG INSTALL_CERTIFICATES=yes
RUN if [ "$INSTALL_CERTIFICATES" = yes ]; then \
        apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=program /program/webhookdb /usr/bin/webhookdb
# Nobody's account: all state is in Postgres.
USER 65532:65532
# /healthz, /readyz and /metrics, where the config says `listen = "0.0.0.0:8428"`.
EXPOSE 8428
STOPSIGNAL SIGTERM
# Alive, not streaming: a standby is well, and so is a daemon whose database is away.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["webhookdb", "healthcheck"]
ENTRYPOINT ["webhookdb"]
CMD ["serve"]
