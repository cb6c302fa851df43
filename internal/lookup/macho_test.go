package lookup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

var aUUID = []byte("0123456789abcdef")

// machO makes a Mach-O file: a segment with code, one of debug information, and a UUID; inFile is how many bytes each has of 4096.
func machO(order order, wide bool, kind uint32, code, dwarf uint32) []byte {
	var b []byte
	u32 := func(values ...uint32) {
		for _, v := range values {
			b = order.AppendUint32(b, v)
		}
	}
	word := func(v uint32) {
		if wide {
			b = order.AppendUint64(b, uint64(v))
		} else {
			u32(v)
		}
	}
	segment := func(name string, offset, inFile, protection uint32) {
		command, size := uint32(machSegment32), uint32(56)
		if wide {
			command, size = machSegment64, 72
		}
		u32(command, size)
		b = append(b, append([]byte(name), make([]byte, 16-len(name))...)...)
		word(0x1000)
		word(4096)
		word(offset)
		word(inFile)
		u32(7, protection, 0, 0)
	}
	if wide {
		u32(machMagic64, 7, 3, kind, 3, 2*72+24, 0, 0)
	} else {
		u32(machMagic32, 7, 3, kind, 3, 2*56+24, 0)
	}
	segment("__TEXT", 0, code, 5)
	segment("__DWARF", code, dwarf, 1)
	u32(machUUID, 24)
	b = append(b, aUUID...)
	return append(b, make([]byte, max(0, int(code+dwarf)-len(b)))...)
}

// fat puts files for several architectures into one.
func fat(wide bool, parts ...[]byte) (file []byte) {
	magic, size := uint32(fatMagic32), 20
	if wide {
		magic, size = fatMagic64, 32
	}
	file = binary.BigEndian.AppendUint32(file, magic)
	file = binary.BigEndian.AppendUint32(file, uint32(len(parts)))
	at := 8 + size*len(parts)
	for _, part := range parts {
		entry := make([]byte, size)
		if wide {
			binary.BigEndian.PutUint64(entry[8:], uint64(at))
		} else {
			binary.BigEndian.PutUint32(entry[8:], uint32(at))
		}
		file, at = append(file, entry...), at+len(part)
	}
	return append(file, bytes.Join(parts, nil)...)
}

func TestMachO(t *testing.T) {
	const executable, dylib = 2, 6
	for _, order := range []order{binary.LittleEndian, binary.BigEndian} {
		for _, wide := range []bool{false, true} {
			for name, c := range map[string]struct {
				kind, code, dwarf uint32
				program, symbols  bool
			}{
				"a program":                {executable, 4096, 0, true, false},
				"a library":                {dylib, 4096, 0, true, false},
				"one that is not stripped": {dylib, 4096, 100, true, true},
				"debug information":        {machDSYM, 0, 4096, false, true},
				"an object":                {machObject, 4096, 0, false, false},
				"a stub":                   {machDylibStub, 4096, 0, false, false},
				"a program without code":   {executable, 0, 0, false, false},
			} {
				file := machO(order, wide, c.kind, c.code, c.dwarf)
				other := bytes.Replace(file, aUUID, []byte("another UUID 16 "), 1)
				for how, file := range map[string][]byte{"thin": file, "fat": fat(wide, other, bytes.Repeat([]byte("x"), headLen), file)} {
					f, ok, err := parseMachO(file[:min(len(file), headLen)], bytes.NewReader(file), aUUID)
					if err != nil || !ok {
						t.Fatalf("%s, %s: %t, %v", name, how, ok, err)
					}
					program, err := f.hasCode()
					symbols, also := f.hasSymbols()
					if err := errors.Join(err, also); err != nil || program != c.program || symbols != c.symbols {
						t.Errorf("%s, %s: a program %t, with symbols %t, %v", name, how, program, symbols, err)
					}
					if c.code+c.dwarf == 0 {
						continue // there is nothing to cut off
					}
					f, ok, err = parseMachO(file[:min(len(file), headLen)], bytes.NewReader(file[:len(file)-1]), aUUID)
					if err != nil || !ok {
						t.Fatalf("%s, %s, cut: %t, %v", name, how, ok, err)
					}
					if program, err := f.hasCode(); program || err != nil {
						t.Errorf("%s, %s, cut: a program %t, %v", name, how, program, err)
					}
				}
				if _, ok, err := parseMachO(other, bytes.NewReader(other), aUUID); ok || err != nil {
					t.Errorf("%s of another UUID: %t, %v", name, ok, err)
				}
			}
		}
	}
	if _, ok, err := parseMachO(nil, nil, aUUID); ok || err != nil {
		t.Errorf("of nothing: %t, %v", ok, err)
	}
	broken := errors.New("broken")
	if _, _, err := parseMachO(fat(false, nil), unreadable{broken}, aUUID); !errors.Is(err, broken) {
		t.Errorf("of what can't be read: %v", err)
	}
}

// FuzzMachO: whatever a file holds, looking at it is safe.
func FuzzMachO(f *testing.F) {
	for _, wide := range []bool{false, true} {
		file := machO(binary.LittleEndian, wide, 2, 200, 50)
		f.Add(file)
		f.Add(fat(wide, machO(binary.BigEndian, !wide, machDSYM, 0, 50), file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		m, ok, err := parseMachO(file, bytes.NewReader(file), aUUID)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if ok {
			_, err := m.hasCode()
			_, also := m.hasSymbols()
			if err := errors.Join(err, also); err != nil {
				t.Error(err)
			}
		}
	})
}

// MachO makes a program, or the debug information of one, with a UUID.
func MachO(debug bool, uuid []byte) []byte {
	file := machO(binary.LittleEndian, true, 2, 4096, 0)
	if debug {
		file = machO(binary.LittleEndian, true, machDSYM, 0, 4096)
	}
	return bytes.Replace(file, aUUID, uuid, 1)
}
