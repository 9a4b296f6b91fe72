#!/bin/sh
# Makes a catalog of the plugins that come with the program, in the folder site, or brings it up to date:
#
#     sh publish.sh [URL]
#
# URL is where a web server will host the folder site, as trust.toml will say; without it, the catalog is used from the disk, or from where
# trust.toml says already. The key is made by the first run.
# Its passphrase is asked for, or is in STAGEPOST_PASSPHRASE. With SOURCE_DATE_EPOCH the same key makes the same site, byte for byte.
set -eu
cd "$(dirname "$0")"
if [ ! -e catalog.key ]; then
	stagepost catalog keygen --name example --place site/index.json catalog.key > keygen.txt
	sed -n '/^\[\[index\]\]/,$p' keygen.txt > trust.toml
	rm keygen.txt
	echo "wrote catalog.key, catalog.pub and trust.toml"
fi
if [ $# -gt 0 ]; then
	sed "s|^place = .*|place = \"${1%/}/index.json\"|" trust.toml > trust.new
	mv trust.new trust.toml
fi
mkdir -p site
cp catalog.pub site/
stagepost catalog publish --bundled --index site/index.json --name example --to site/packages --key catalog.key
