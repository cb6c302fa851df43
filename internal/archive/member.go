package archive

import (
	"slices"

	"tecken-upload/internal/archive/fault"
	"tecken-upload/internal/symbol"
)

// place gives m the name, key and role in p.
func (m *Member) place(p place) {
	m.Name, m.Key, m.role = p.name, p.key, p.role
	m.Ignored = p.role != roleSymbol
}

// membersOf returns the entries that are members or ignored files.
func membersOf(entries []*Member) []*Member {
	return slices.DeleteFunc(slices.Clone(entries), func(m *Member) bool { return m.role == roleDirectory })
}

// checkNotEmpty returns an error if there is nothing to publish.
func checkNotEmpty(members []*Member, entries int) error {
	if entries == 0 {
		return fault.Invalid("The archive is empty")
	}
	if !slices.ContainsFunc(members, func(m *Member) bool { return m.role == roleSymbol }) {
		return fault.Invalid("There is no symbol file in the archive")
	}
	return nil
}

// resolveNull gives a checked member with a null debug id the key that it is looked up by: a .sym, that of the code id in
// its header. Another such member is ignored, for nothing would ever find it.
func (m *Member) resolveNull() {
	if m.Ignored || !m.Key.IsNull() {
		return
	}
	codeFile := m.Header.CodeFile
	if codeFile == "" {
		codeFile = m.Key.DebugFile()
	}
	key, err := symbol.NewKey(codeFile, m.Header.CodeID, m.Key.File())
	if err != nil || key.IsNull() {
		m.Key, m.Ignored = symbol.Key{}, true
		return
	}
	m.Key, m.Name = key, key.String()
}
