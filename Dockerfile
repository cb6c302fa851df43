# Both programs in one image. By itself it runs both, each of which is started again when it ends without taking the other
# down (scripts/supervise); with a command, one of them:
#
#   docker build --build-arg VERSION=1.2.3 --build-arg COMMIT="$(git rev-parse HEAD)" -t tecken-upload .
#   docker run -p 8000:8000 -v tecken:/app/data tecken-upload
#   docker run -p 8000:8000 -v tecken:/app/data tecken-upload tecken-upload serve
#   docker run              -v tecken:/app/data tecken-upload disk-manager run
#
# It runs under any uid whose group is 0, with a read-only root, and needs no capability. scripts/image builds and tries it.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
ARG SOURCE=
ARG VERSION=dev
ARG COMMIT=
ARG BUILD=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /out/ \
    -ldflags "-s -w -X 'main.source=$SOURCE' -X 'main.version=$VERSION' -X 'main.commit=$COMMIT' -X 'main.build=$BUILD'" \
    ./cmd/tecken-upload ./cmd/disk-manager
# Of the program itself, so that the file agrees with what /__version__ answers.
RUN /out/tecken-upload version >/out/version.json

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates s6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --gid 0 --home-dir /app --no-create-home --shell /usr/sbin/nologin tecken \
    && install -d -o 10001 -g 0 -m 0775 /app/data
COPY --from=build /out/tecken-upload /out/disk-manager /usr/local/bin/
COPY scripts/supervise /usr/local/bin/
COPY --from=build /out/version.json /app/version.json
WORKDIR /app
# Stands for TECKEN_LISTEN=0.0.0.0:8000, and gives way to the PORT of a platform that sets one.
ENV PORT=8000
USER 10001:0
# All that is written to: the spool and, by default, everything else; and what s6 runs from.
VOLUME ["/app/data", "/tmp"]
# Clients; and, for the inside only, the metrics of both programs.
EXPOSE 8000 8001 8002
CMD ["supervise"]
