package record

import "strings"

// ModuleFilesQueries returns the queries for a module's files, with values, and the index that each must use.
func ModuleFilesQueries() map[string]string {
	values := strings.NewReplacer("$1", "FALSE", "$2", "'A7'", "$3", "'A7'")
	return map[string]string{
		values.Replace(moduleFiles):      "files_debug_id",
		values.Replace(filesOfAnyModule): "files_any_debug_id",
	}
}
