#!/bin/sh
# Compiles the plugin in a folder, the current one or the first argument, to its plugin.wasm: sh stagepost/build.sh
# It takes all .c files there. On Debian: apt install clang lld
set -e
sdk=$(cd "$(dirname "$0")" && pwd)
cd "${1:-.}"
mkdir -p .build
clang --target=wasm32 -std=c11 -Os -Wall -Wextra -ffreestanding -nostdlib -Wl,--no-entry,--stack-first,--strip-all \
  -I "$sdk" -o .build/plugin.wasm ./*.c "$sdk/stagepost.c"
mv .build/plugin.wasm plugin.wasm
