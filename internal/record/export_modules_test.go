package record

import "strings"

// ModuleQueries returns the queries for modules, with values, and the index that each is to use.
func ModuleQueries() map[string]string {
	values := strings.NewReplacer("$1", "FALSE", "$2", "'A7'", "$3", "'A7'")
	return map[string]string{
		values.Replace(modulesByDebugID): "files_debug_id",
		values.Replace(modulesByCodeID):  "files_code_id",
		values.Replace(modulesByCode):    "files_code_id",
		values.Replace(moduleFiles):      "files_debug_id",
		values.Replace(filesOfAnyModule): "files_any_debug_id",
	}
}
