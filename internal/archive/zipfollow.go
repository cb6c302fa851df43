package archive

import (
	"context"
	"math"
	"strings"
)

const (
	// unknownSize is the size of data that end where their deflate stream does.
	unknownSize = -1
	// usualRatio is what a deflated byte is guessed to inflate to, in bytes.
	usualRatio = 4
	// followDepth is the most slashes in a followed name: a key has two, and a few folders of an operating system may be around it.
	followDepth = 16
	// longestDescriptor is the size of a data descriptor with its signature and 64 bits for each size.
	longestDescriptor = 24
)

// walk goes from local header to local header, as far as it can tell where the next one is.
func (f *Follower) walk(ctx context.Context) {
	at, err := f.archive.skipMark(ctx)
	sum := newTally(f.archive.limits)
	names := naming{disallowed: f.archive.limits.DisallowedSnippets}
	for err == nil && at >= 0 {
		at, err = f.next(ctx, at, sum, &names)
	}
}

// next has the member with the local header at an offset verified, and returns the offset behind it; or -1 if that is not known, or if the
// archive is going to be refused.
func (f *Follower) next(ctx context.Context, at int64, sum *tally, names *naming) (int64, error) {
	m, err := f.header(ctx, at)
	if m == nil {
		return -1, err
	}
	p, err := names.locate(m.sent, strings.HasSuffix(m.sent, "/") || strings.HasSuffix(m.sent, `\`))
	if err != nil {
		return -1, err
	}
	m.place(p)
	if m.zip.size == unknownSize {
		return f.stream(ctx, m, sum)
	}
	if err := sum.add(m.Member); err != nil {
		return -1, err
	}
	end := m.zip.data + m.zip.size
	if !f.take(ctx, m, min(end, m.zip.data+followStep)) {
		return -1, nil
	}
	return end, nil
}

// stream has a member of unknown size verified, and returns the offset behind its data descriptor, or -1 if there is none.
func (f *Follower) stream(ctx context.Context, m *followed, sum *tally) (int64, error) {
	if !f.take(ctx, m, m.zip.data+1) {
		return -1, nil
	}
	<-m.done
	if !m.good {
		return -1, nil
	}
	if err := sum.add(m.Member); err != nil {
		return -1, err
	}
	end := m.zip.data + m.zip.size
	there, err := f.file.wait(ctx, end+longestDescriptor)
	if err != nil {
		return -1, err
	}
	desc := make([]byte, min(longestDescriptor, there-end))
	if err := f.archive.read(ctx, desc, end); err != nil {
		return -1, err
	}
	n := m.descriptorLen(desc, m.wide)
	if n == 0 {
		return -1, nil
	}
	return end + n, nil
}

// header reads the local header at an offset. It returns nil if there is none, or one of a member that can't be followed.
func (f *Follower) header(ctx context.Context, at int64) (*followed, error) {
	rec, err := f.read(ctx, at, localSize)
	if rec == nil || le.Uint32(rec) != localSig {
		return nil, err
	}
	nameLen, extraLen := int(le.Uint16(rec[26:])), int(le.Uint16(rec[28:]))
	rest, err := f.read(ctx, at+localSize, nameLen+extraLen)
	if rest == nil {
		return nil, err
	}
	name := string(rest[:nameLen])
	f.names += nameLen
	if f.names > f.archive.limits.MaxMembers*directoryPerMember+directorySlack || strings.Count(name, "/") > followDepth {
		return nil, nil
	}
	extra, err := readExtra(name, rest[nameLen:])
	if err != nil {
		return nil, err
	}
	m := &followed{Member: &Member{sent: name, archive: f.archive, crc: le.Uint32(rec[14:])}, wide: extra.wide, done: make(chan struct{})}
	m.zip = zipMember{flags: le.Uint16(rec[6:]), method: le.Uint16(rec[8:]), header: at, data: at + localSize + int64(nameLen+extraLen)}
	size, data := uint64(le.Uint32(rec[22:])), uint64(le.Uint32(rec[18:]))
	streamed := m.zip.flags&flagDescriptor != 0
	switch {
	case !extra.widen(&size, &data), data > math.MaxInt64-uint64(m.zip.data), m.zip.flags&(flagEncrypted|flagPatch) != 0:
		return nil, nil
	case m.zip.method == methodDeflated && streamed:
		m.Size, m.zip.size = f.archive.limits.MaxMemberSize, unknownSize
	case m.zip.method == methodDeflated, m.zip.method == methodStored && !streamed && size == data:
		m.Size, m.zip.size = int64(size), int64(data)
	default:
		return nil, nil
	}
	m.end.Store(math.MaxInt64)
	if m.zip.size != unknownSize {
		m.end.Store(m.zip.data + m.zip.size)
	}
	return m, nil
}

// read reads n bytes at an offset, once they are there. It returns nil if they never will be.
func (f *Follower) read(ctx context.Context, at int64, n int) ([]byte, error) {
	there, err := f.file.wait(ctx, at+int64(n))
	if err != nil || there < at+int64(n) {
		return nil, err
	}
	p := make([]byte, n)
	return p, f.archive.read(ctx, p, at)
}

// take verifies m in a goroutine, once the file has so many bytes and there is a place for m. It returns false if the file was whole before.
func (f *Follower) take(ctx context.Context, m *followed, size int64) bool {
	if _, err := f.file.wait(ctx, size); err != nil {
		return false
	}
	select {
	case f.places <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if !f.begin(m) {
		<-f.places
		return false
	}
	f.start(func() {
		defer func() { <-f.places }()
		defer close(m.done)
		if m.good = f.verify(ctx, m) == nil; m.good {
			f.tell(m)
		}
	})
	return true
}

// verify reads all of m and checks it, a member of unknown size only by itself.
func (f *Follower) verify(ctx context.Context, m *followed) error {
	streamed := m.zip.size == unknownSize
	there, _, _ := f.file.now()
	return f.archive.work.Inflate(ctx, m.cost(min(followTurn, there-m.zip.data)), func(turn Turn) error {
		src := newSource(ctx, f.file, m.zip.data, m.end.Load()-m.zip.data)
		turnEnds := m.zip.data + followTurn
		src.await = func(pos int64) (int64, error) { return f.await(ctx, turn, pos, &turnEnds, m) }
		if !streamed {
			return m.verifyFrom(src, turn) //nolint:contextcheck // src and turn have it
		}
		return m.verifyStream(src, turn) //nolint:contextcheck // src and turn have it
	})
}

// verifyStream reads a member of unknown size, and learns its size and CRC-32.
func (m *followed) verifyStream(src *source, turn Turn) error {
	d := newDigest(turn, m.Size)
	if err := m.inflate(src, d); err != nil {
		return err
	}
	m.Size, m.crc = d.n, d.crc
	return m.check(d)
}

// await waits until bytes of m beyond pos are there, and gives back its turn meanwhile, and at turnEnds. It returns how many bytes of the file
// may be read.
func (f *Follower) await(ctx context.Context, turn Turn, pos int64, turnEnds *int64, m *followed) (there int64, err error) {
	there, whole, _ := f.file.now()
	if waits := there <= pos && !whole; waits || pos >= *turnEnds {
		want := pos + 1
		if m.zip.size != unknownSize {
			want = min(pos+followStep, m.zip.data+m.zip.size)
		}
		err = turn.Pause(ctx, func() (cost int64, err error) {
			there, err = f.file.wait(ctx, want)
			return m.cost(min(followTurn, there-pos)), err
		})
		*turnEnds = pos + followTurn
	}
	return min(there, m.end.Load()), err
}

// cost guesses what n bytes of the file, some of them m's data, inflate to.
func (m *followed) cost(n int64) int64 {
	if m.zip.size == unknownSize {
		return usualRatio * n
	}
	n = min(n, m.zip.size)
	return int64(float64(m.Size) * float64(n) / float64(max(1, m.zip.size)))
}

// tell reports a good member, if it is a symbol file.
func (f *Follower) tell(m *followed) {
	m.resolveNull()
	if m.role == roleSymbol && !m.Ignored {
		f.found(m.Member)
	}
}

// adopt takes over what a Follower found of m, an entry of the directory. It waits for a Follower that is reading m, and returns false if
// nothing was found, or something that does not agree with the directory.
func (m *Member) adopt(ctx context.Context, f *Follower) (bool, error) {
	found := f.at(m.zip.header)
	if found == nil {
		return false, nil
	}
	found.end.Store(m.zip.data + m.zip.size) // a stream that is read still may go on behind it
	select {
	case <-found.done:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	same := found.zip.data == m.zip.data && found.zip.size == m.zip.size && found.zip.method == m.zip.method && found.zip.flags == m.zip.flags &&
		found.Size == m.Size && found.crc == m.crc && found.sent == m.sent
	if !found.good || !same {
		return false, nil
	}
	m.MD5, m.head, m.zip.gzipCRC = found.MD5, found.head, found.zip.gzipCRC
	if m.Key.IsSym() {
		m.Header = m.head
	}
	return true, nil
}
