package dkim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"
)

// bodyHash hashes the body in one canonical form, or the beginning of it.
type bodyHash struct {
	canon  Canon
	length int64 // -1: all of it
	sum    hash.Hash
	in     io.WriteCloser
	seen   int64 // octets in canonical form
	late   bool  // there was no time to read all
}

// Write takes the canonical form.
func (b *bodyHash) Write(p []byte) (int, error) {
	part := p
	if b.length >= 0 {
		part = p[:min(int64(len(p)), max(0, b.length-b.seen))]
	}
	b.sum.Write(part)
	b.seen += int64(len(p))
	return len(p), nil
}

func newBodyHash(c Canon, length int64) *bodyHash {
	b := &bodyHash{canon: c, length: length, sum: sha256.New()}
	b.in = c.Body(b)
	return b
}

// compare holds the hash against that of a signature.
func (b *bodyHash) compare(s *Signature) error {
	switch {
	case b.late:
		return lateError()
	case b.length > b.seen:
		return failed("l= is more than the body has")
	case !bytes.Equal(b.sum.Sum(nil), s.Hash):
		return failed("the body was changed: its hash is not that of bh=")
	}
	return nil
}

// bodyHashes are those that the signatures of one message want, each once.
type bodyHashes []*bodyHash

func (all *bodyHashes) hash(c Canon, length int64) *bodyHash {
	for _, b := range *all {
		if b.canon == c && b.length == length {
			return b
		}
	}
	b := newBodyHash(c, length)
	*all = append(*all, b)
	return b
}

// read sends the body through all of them, once.
func (all bodyHashes) read(ctx context.Context, body io.Reader) error {
	if len(all) == 0 {
		return nil
	}
	buf := make([]byte, 32<<10)
	for {
		if ctx.Err() != nil {
			for _, b := range all {
				b.late = true
			}
			return nil
		}
		n, err := body.Read(buf)
		for _, b := range all {
			b.in.Write(buf[:n]) // into a hash, which does not fail
		}
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	for _, b := range all {
		b.in.Close()
	}
	return nil
}
