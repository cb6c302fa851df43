package archive

import (
	"hash"
	"sync"

	"tecken-upload/internal/background"
)

const (
	// besideSize is from how many bytes on a content is worth a second processor: one to three members have nearly all bytes of an archive.
	besideSize = 8 << 20
	// besideBuffers is how many buffers are filled, hashed, and on their way between. Each change of hands costs, so they are large.
	besideBuffers, besideBuffer = 3, 512 << 10
)

// buffers and largeBuffers lend what content is read into: *[]byte of bufSize and of besideBuffer.
var buffers, largeBuffers = lend(bufSize), lend(besideBuffer)

func lend(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		buf := make([]byte, size)
		return &buf
	}}
}

// A beside computes a hash in a goroutine of its own, beside its caller.
type beside struct {
	lent  [besideBuffers]*[]byte
	empty chan []byte
	full  chan []byte
	ended chan struct{} // closed once what was written is in the hash
}

func newBeside(sum hash.Hash) *beside {
	b := &beside{empty: make(chan []byte, besideBuffers), full: make(chan []byte, besideBuffers), ended: make(chan struct{})}
	for i := range b.lent {
		b.lent[i] = largeBuffers.Get().(*[]byte)
		b.empty <- *b.lent[i]
	}
	background.Go("hash", func() {
		defer close(b.ended)
		for p := range b.full {
			sum.Write(p)
			b.empty <- p[:besideBuffer]
		}
	})
	return b
}

// buffer waits for an empty buffer.
func (b *beside) buffer() []byte { return <-b.empty }

// write hashes a full buffer, and returns an empty one. The hash is complete after close.
func (b *beside) write(p []byte) []byte {
	b.full <- p
	return b.buffer()
}

// close waits for the end of the hashing.
func (b *beside) close() {
	close(b.full)
	<-b.ended
	for _, buf := range b.lent {
		largeBuffers.Put(buf)
	}
}
