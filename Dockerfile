# The server as an image: built with the Swift toolchain, run on plain Debian with nothing but its libraries.
FROM swift:6.3-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libcurl4-openssl-dev libpocketsphinx-dev libpq-dev libspeexdsp-dev libssl-dev libuv1-dev \
        libwebsockets-dev libwebsockets-evlib-uv pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
# The packages change less often than the sources, so they are a layer of their own.
COPY Package.* ./
RUN swift package resolve
COPY Sources Sources
# Nothing of it is built here, but SwiftPM wants every target of the package to be there.
COPY Tests Tests
RUN swift build -c release --product hansard --static-swift-stdlib \
    && install -D "$(swift build -c release --static-swift-stdlib --show-bin-path)/hansard" /out/hansard

FROM debian:12-slim
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates libcurl4 libpocketsphinx3 libpq5 libspeexdsp1 libssl3 libuv1 \
        libwebsockets17 libwebsockets-evlib-uv pocketsphinx-en-us tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/hansard --create-home hansard
COPY --from=build /out/hansard /usr/bin/hansard
COPY Migrations /usr/share/hansard/Migrations
COPY openapi.yaml /usr/share/hansard/openapi.yaml
USER 10001
WORKDIR /var/lib/hansard
ENV HANSARD_LISTEN=0.0.0.0:8080 \
    HANSARD_STATE_DIR=/var/lib/hansard
EXPOSE 8080
VOLUME ["/var/lib/hansard"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["hansard", "healthcheck"]
ENTRYPOINT ["hansard"]
CMD ["serve"]
