// Package config reads the settings of the two programs.
//
// A setting is a struct field; its comment is its manual. It has a flag and an environment variable of the same name:
// --tecken-max-upload-size and TECKEN_MAX_UPLOAD_SIZE. The flag wins over the variable, the variable over the default. Only flags that
// begin with "tecken-" or "sentry-" have a variable. A "tecken-" flag may be written without its prefix (--max-upload-size).
//
// An empty variable counts as not set, except for a [List]: there it is the empty list.
//
// [Parse] reports all unreadable variables and all faults that the struct's Validate finds, each with its variable's name. It checks the
// form only; the code that opens a directory, a bucket or a database finds out whether it exists. A fault never shows the value of a URL,
// which may hold a password.
package config
