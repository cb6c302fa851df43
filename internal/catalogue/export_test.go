package catalogue

// Parameters returns the names of what the lists understand, by their paths.
func Parameters() map[string][]string {
	return map[string][]string{"/api/uploads/": names(uploadFilters), "/api/uploads/files/": names(fileFilters)}
}

func names[Q any](table []filter[Q]) (names []string) {
	for _, f := range table {
		names = append(names, f.name)
	}
	return names
}
