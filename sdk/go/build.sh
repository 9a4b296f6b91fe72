#!/bin/sh
# Compiles the plugin in a folder, the current one or the first argument, to its plugin.wasm: sh stagepost/build.sh
# It takes Go 1.26 or later.
set -e
cd "${1:-.}"
GOOS=wasip1 GOARCH=wasm GOWORK=off GOFLAGS= go build -buildmode=c-shared -trimpath -ldflags=-s -o plugin.wasm .
