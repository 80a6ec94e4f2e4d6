# Everything a fresh Debian machine with Swift needs comes from these targets.

SWIFT ?= swift
OUTPUT ?= output/digits
TESTS ?=

# What Benchmarks/quality.sh and run.sh read: files of features, and where the peers' scores are kept.
export MOVIE_REVIEWS SUPERSENSES PEERS LAPLACE_PYTHON

.PHONY: run test build setup setup-test bench bench-full quality quality-survey format lint clean

## Install what is missing, build, and fit a head to the built-in digits.
run: setup
	$(SWIFT) build -c release --product bllarse-finetune
	.build/release/bllarse-finetune --tune-mode last_layer --epochs 1 --dataset digits --output $(OUTPUT) --overwrite

## Install what is missing, and run every test, or those that TESTS="--filter NAME" says.
test: setup-test
	$(SWIFT) build --build-tests -Xcc -O2
	$(SWIFT) test --skip-build -Xcc -O2 $(TESTS)

build: setup
	$(SWIFT) build -c release

setup:
	Scripts/setup.sh

setup-test:
	Scripts/setup.sh --test

## Time the package beside its peers: two minutes, or all cases.
bench: setup
	Benchmarks/run.sh

bench-full: setup
	Benchmarks/run.sh --full

## Compare the default with what others reach, data set by data set (see Benchmarks/quality.sh).
quality: setup
	Benchmarks/quality.sh

## The same on public tables, and on many further kinds of data, half of which nothing was chosen on.
quality-survey: setup
	Benchmarks/quality.sh survey

format:
	$(SWIFT) format --in-place --recursive Sources Tests Package.swift

lint:
	$(SWIFT) format lint --strict --recursive Sources Tests Package.swift

clean:
	$(SWIFT) package clean
