package differential

import (
	"path"
	"strings"

	"tecken-upload/internal/symbol"
)

// byKey brings a reader's list into the form of ours: by symbol key, without what an upload leaves out. A name that is no key stays
// as it is. Of a name that is there twice with two contents it lists both.
func (l *listing) byKey() map[string]string {
	keys := map[string]string{}
	for _, f := range l.files {
		name := f.name
		if !strings.Contains(name, "/") {
			name = strings.ReplaceAll(name, `\`, "/") // of an archive that has backslashes everywhere; unzip turns them in some names
		}
		for strings.HasPrefix(name, "./") {
			name = strings.TrimPrefix(name, "./")
		}
		if passedOver(name) {
			continue
		}
		if key, err := symbol.ParseKey(name); err == nil {
			name = key.String()
		}
		if sum, ok := keys[name]; ok && sum != f.sum {
			keys[name] = sum + " and " + f.sum
			continue
		}
		keys[name] = f.sum
	}
	return keys
}

// passedOver reports whether an upload leaves a name out: a directory, what Finder and Explorer leave behind, a listing at the root.
func passedOver(name string) bool {
	if name == "" || name == "." || strings.HasSuffix(name, "/") {
		return true
	}
	base := strings.ToLower(path.Base(name))
	switch base {
	case ".ds_store", "thumbs.db", "desktop.ini":
		return true
	}
	return strings.HasPrefix(base, "._") || strings.Contains("/"+path.Dir(name)+"/", "/__MACOSX/") ||
		!strings.Contains(name, "/") && strings.HasSuffix(base, "-symbols.txt")
}
