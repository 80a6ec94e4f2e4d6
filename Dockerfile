# The images of bllarse.
#
#   docker build -t bllarse-dev .
#       what a sweep's jobs run in: the programs, the libraries that they need, Python
#   docker build -t bllarse-swift --target develop .
#       Swift and every package: in it `make run` and `make test` work in a clone of the repository,
#       docker run --rm -it -v "$PWD:$PWD" -w "$PWD" -u "$(id -u):$(id -g)" bllarse-swift make run
#
# bllarse.def builds the same for Apptainer.
ARG SWIFT=swift:6.3-bookworm
ARG DEBIAN=debian:12-slim

FROM ${SWIFT} AS develop
COPY Scripts/setup.sh /usr/local/share/bllarse/Scripts/setup.sh
RUN apt-get update && \
    apt-get install --yes --no-install-recommends make && \
    /usr/local/share/bllarse/Scripts/setup.sh --test && \
    rm -rf /var/lib/apt/lists/*
# Whoever the container runs as can write here: Swift's caches need a home.
RUN useradd --create-home --uid 1000 bllarse && chmod 1777 /home/bllarse
ENV HOME=/home/bllarse
WORKDIR /home/bllarse
USER bllarse

FROM develop AS build
USER root
WORKDIR /src
COPY Package.swift ./
COPY Sources Sources
COPY Tests Tests
COPY Scripts Scripts
RUN Scripts/install.sh /opt/bllarse

FROM ${DEBIAN} AS jobs
COPY Scripts/setup.sh /opt/bllarse/Scripts/setup.sh
RUN /opt/bllarse/Scripts/setup.sh --runtime && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 bllarse
COPY --from=build /opt/bllarse /opt/bllarse
ENV PATH=/opt/bllarse/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /home/bllarse
USER bllarse
CMD ["bllarse-finetune", "--help"]
