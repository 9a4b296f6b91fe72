package observe

import "hash/maphash"

// filter tells which ids a segment surely does not hold (a Bloom filter of two bits an id).
type filter [2048]uint64

func (f *filter) add(h uint64) {
	f[h>>6%2048] |= 1 << (h & 63)
	h >>= 32
	f[h>>6%2048] |= 1 << (h & 63)
}

func (f *filter) has(h uint64) bool {
	g := h >> 32
	return f[h>>6%2048]&(1<<(h&63)) != 0 && f[g>>6%2048]&(1<<(g&63)) != 0
}

// hash is what the filters of a folder are asked with; it differs from process to process.
func (f *folder) hash(id []byte) uint64 { return maphash.Bytes(f.seed, id) }
