#!/bin/sh
# Compiles the plugin in a folder, the current one or the first argument, to its plugin.wasm: sh stagepost/build.sh
# It begins with src/lib.rs. On Debian: apt install rustc libstd-rust-dev-wasm32 lld; elsewhere: rustup target add wasm32-unknown-unknown
set -e
sdk=$(cd "$(dirname "$0")" && pwd)
cd "${1:-.}"
mkdir -p .build
compile() {
  "${RUSTC:-rustc}" --edition 2021 --target wasm32-unknown-unknown -C opt-level=s -C panic=abort "$@"
}
compile --crate-type rlib --crate-name stagepost -o .build/libstagepost.rlib "$sdk/src/lib.rs"
compile --crate-type cdylib --crate-name plugin -C lto=fat -C strip=symbols -C link-arg=-zstack-size=131072 \
  --extern stagepost=.build/libstagepost.rlib -o .build/plugin.wasm src/lib.rs
mv .build/plugin.wasm plugin.wasm
