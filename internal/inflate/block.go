package inflate

import (
	"errors"
	"io"
)

// A blockKind is the kind of a block. RFC 1951, section 3.2.3.
type blockKind int

const (
	noBlock blockKind = iota // between blocks
	storedBlock
	codedBlock
)

// blocks decodes until out is full. It returns errMore where the input ends before, and io.EOF where the stream does.
func (r *Reader) blocks() (err error) {
	for err == nil && r.at < outFull {
		switch r.block {
		case noBlock:
			err = r.header()
		case storedBlock:
			err = r.copyStored()
		case codedBlock:
			err = r.symbols()
		}
		if err == nil && r.final && r.block == noBlock {
			err = io.EOF
		}
	}
	r.unread()
	return err
}

// header reads a block's header, all of it or, with errMore, nothing.
func (r *Reader) header() error {
	start := r.bitReader
	err := r.blockHeader()
	if errors.Is(err, errMore) {
		r.bitReader = start
	}
	return err
}

func (r *Reader) blockHeader() (err error) {
	r.refill()
	if r.n < 3 {
		return errMore
	}
	final, kind := r.take(1) == 1, codedBlock
	switch r.take(2) {
	case 0:
		kind = storedBlock
		err = r.storedLength()
	case 1:
		r.codes = fixedTables()
	case 2:
		r.codes = &r.own
		err = r.dynamicTables()
	default:
		err = r.corrupt()
	}
	if err != nil {
		return err
	}
	r.block, r.final = kind, final
	return nil
}

// storedLength reads the length of a stored block. RFC 1951, section 3.2.4.
func (r *Reader) storedLength() error {
	r.skip(r.n & 7)
	r.refill()
	if r.n < 32 {
		return errMore
	}
	r.stored = int(r.take(16))
	if r.stored != int(^r.take(16)&0xffff) {
		return r.corrupt()
	}
	r.unread()
	return nil
}

// copyStored copies what there is of a stored block.
func (r *Reader) copyStored() error {
	n := copy(r.out[r.at:outSize], r.input[r.pos:min(r.pos+r.stored, len(r.input))])
	r.at += n
	r.pos += n
	r.stored -= n
	switch {
	case r.stored == 0:
		r.block = noBlock
	case r.pos == len(r.input):
		return errMore
	}
	return nil
}

// lengthOrder is the order in which a header has the lengths of the codes for lengths. RFC 1951, section 3.2.7.
var lengthOrder = [lengthSymbols]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamicTables reads the codes of a block, and makes its tables. RFC 1951, section 3.2.7.
func (r *Reader) dynamicTables() error {
	r.refill()
	if r.n < 14 {
		return errMore
	}
	literals, distances, given := int(r.take(5))+257, int(r.take(5))+1, int(r.take(4))+4
	if literals > literalSymbols || distances > distanceSymbols {
		return r.corrupt()
	}
	var ofLengths [lengthSymbols]uint8
	for _, symbol := range lengthOrder[:given] {
		if r.refill(); r.n < 3 {
			return errMore
		}
		ofLengths[symbol] = uint8(r.take(3))
	}
	var table [1 << lengthBits]entry
	allowed := build(table[:], lengthBits, lengthMeanings[:], ofLengths[:])
	if alone := table[0]&isOther != table[1]&isOther; !allowed || alone {
		return r.corrupt() // a lone code is of no use here; where there is none, zlib takes each bit for a length of 0
	}
	var lengths [literalSymbols + distanceSymbols]uint8
	all := lengths[:literals+distances]
	if err := r.codeLengths(all, &table); err != nil {
		return err
	}
	if lengths[endOfBlock] == 0 ||
		!build(r.own.literals[:], literalBits, literalMeanings[:], all[:literals]) ||
		!build(r.own.distances[:], distanceBits, distanceMeanings[:], all[literals:]) {
		return r.corrupt()
	}
	return nil
}

// codeLengths reads lengths of codes, given the table of their own codes.
func (r *Reader) codeLengths(lengths []uint8, table *[1 << lengthBits]entry) error {
	for i := 0; i < len(lengths); {
		r.refill()
		e := table[r.bits&(1<<lengthBits-1)]
		if e.bits() > r.n {
			return errMore
		}
		number := e.number(r.bits)
		r.skip(e.bits())
		value, times := uint8(number>>8), int(number&0xff)+1
		if value == lengthBefore && i > 0 {
			value = lengths[i-1]
		}
		if value == lengthBefore || i+times > len(lengths) {
			return r.corrupt()
		}
		for range times {
			lengths[i] = value
			i++
		}
	}
	return nil
}
