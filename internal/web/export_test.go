package web

// Parameters returns the names of what the lists of records understand, by their paths.
func Parameters() map[string][]string {
	return map[string][]string{"/api/uploads/": named(uploadParameters), "/api/uploads/files/": named(fileParameters)}
}

func named[Q any](table []parameter[Q]) (names []string) {
	for _, p := range table {
		names = append(names, p.name)
	}
	return names
}
