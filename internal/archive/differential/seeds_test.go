package differential

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// pick returns one of the values.
func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// chance is true once in n times.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// content is what a member may hold, from nothing to more than a tar block.
func content(r *rand.Rand) []byte {
	return []byte(pick(r,
		"MODULE Linux x86_64 44E4EC8C2F41492B9369D6B9A059577C2 a.so\nFILE 0 main.c\nFUNC 1000 2a 0 main\n",
		"a short one\n",
		"",
		strings.Repeat("FUNC 1000 2a 0 main\n", 60),
		strings.Repeat("\x00", 512),
		"PK\x03\x04 that is not a member, PK\x05\x06 that is not an end",
		strings.Repeat("0123456789abcdef", 32),
	))
}

// validName is a name that a symbol file may have; numbers make names.
func validName(r *rand.Rand, n int) string {
	module := fmt.Sprintf("%s%d.%s", pick(r, "a", "firefox", "libx-y_z"), n, pick(r, "so", "pdb", "dll"))
	id := pick(r, "AB12", "44E4EC8C2F41492B9369D6B9A059577C2", "ab12cd")
	return module + "/" + id + "/" + module + pick(r, ".sym", ".pdb", ".dbg", "")
}

// extras are names of files that are passed over wherever they are.
var extras = []string{".DS_Store", "__MACOSX/a.so/AB12/._a.pdb", "a.so/._AB12", "a.so/AB12/Thumbs.db", "desktop.ini", "a-symbols.txt"}

// oddNames are spellings of a name that readers may take for another one.
func oddNames(name string) []string {
	dir, file, _ := strings.Cut(name, "/")
	return []string{
		"./" + name, "././" + name, ".//" + name, "/" + name, "//" + name, "../" + name, "x/../" + name, dir + "//" + file, dir + "/./" + file,
		strings.ReplaceAll(name, "/", `\`), dir + `\` + file, `.\` + strings.ReplaceAll(name, "/", `\`), name + "/", name + `\`,
		name + "\x00", name + "\x00.exe", "\x00" + name, name + "\n", name + " ", " " + name, name + ".", dir + " /" + file, dir + "./" + file,
		"C:/" + file, "C:" + name, `C:\` + strings.ReplaceAll(name, "/", `\`), strings.ToUpper(name), strings.ToLower(name),
		"é" + name, "e\u0301" + name, "微信" + name, "\xe9" + name, "\x82" + name, "\xc0\xaf" + name, "\xed\xa0\x80" + name, "\u202e" + name,
		"\u00a0" + name, "\ufeff" + name, name + "\u200d", "~" + name, "-" + name, "*" + name, "?" + name, "", ".", "/", "..", "a.so",
		dir + "/" + strings.Repeat("n", 100), dir + "/AB12/" + strings.Repeat("n", 190), dir + "/AB12/" + strings.Repeat("n", 300),
		extras[0], extras[1], extras[2], extras[3], extras[4], extras[5], "__MACOSX/" + name, dir + "/AB12/._" + file[strings.LastIndex(file, "/")+1:],
		"x/" + extras[5], "X-SYMBOLS.TXT", "a.so/AB12/THUMBS.DB", "a.so/AB12/",
	}
}

func seedZip(r *rand.Rand) *zipFile {
	z := &zipFile{}
	shape := pick(r, "unix", "unix", "unix", "macos", "dos", "ntfs", "dot-slash", "backslash", "utf8", "utf8 unmarked")
	for n := range 1 + r.IntN(4) {
		m := newMember(validName(r, n), content(r), pick[uint16](r, stored, deflated))
		if chance(r, 4) {
			m.descriptor = pick(r, "signed", "signed", "bare")
		}
		if chance(r, 8) {
			m.wide = true
		}
		if chance(r, 4) {
			m.addExtra(pick(r, harmlessExtras...))
		}
		if chance(r, 10) {
			m.comment = []byte("a comment")
		}
		z.members = append(z.members, m)
	}
	if chance(r, 4) {
		z.members = append(z.members, newMember(pick(r, extras...), []byte("ignored"), stored))
	}
	if chance(r, 4) {
		d := newMember("a.so/", nil, stored)
		d.attributes = 0o40755<<16 | 0x10
		z.members = append([]*zipMember{d}, z.members...)
	}
	for _, m := range z.members {
		shapeMember(m, shape)
	}
	if chance(r, 8) {
		z.end.comment = []byte("a comment of the archive")
	}
	z.end.wide = chance(r, 6)
	return z
}

// shapeMember makes m look as if a tool of some kind had made it.
func shapeMember(m *zipMember, shape string) {
	rename := func(to string) { m.both(func(h *zipHeader) { h.name = to }) }
	switch name := m.central.name; shape {
	case "macos":
		m.maker = 19<<8 | 21
	case "dos":
		m.maker, m.attributes = 20, m.attributes&0x10|0x20
	case "ntfs":
		m.maker, m.attributes = 10<<8|20, m.attributes&0x10|0x20
	case "dot-slash":
		rename("./" + name)
	case "backslash":
		m.maker, m.attributes = 20, m.attributes&0x10|0x20
		rename(strings.ReplaceAll(name, "/", `\`))
	case "utf8 unmarked":
		rename("é" + name)
	case "utf8":
		rename("é" + name)
		m.both(func(h *zipHeader) { h.flags |= utf8Flag })
	}
}

// harmlessExtras are fields that say nothing of a member's name or bytes: times, owners, alignment, marks of tools.
var harmlessExtras = [][]byte{
	extraField(0x5455, []byte{3, 0, 0, 0, 0x60, 0, 0, 0, 0x60}),
	extraField(0x7875, []byte{1, 4, 0, 0, 0, 0, 4, 0, 0, 0, 0}),
	extraField(0x000a, append([]byte{0, 0, 0, 0, 1, 0, 24, 0}, make([]byte, 24)...)),
	extraField(0xcafe, nil), extraField(0xd935, []byte{4, 0, 0, 0}), bytes.Repeat([]byte{0}, 3), bytes.Repeat([]byte{0}, 9),
}
