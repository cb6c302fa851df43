// Package config reads the settings of the two programs.
//
// A setting is a field of a struct whose comment is its manual. It has a flag and an environment variable
// of the same name: --tecken-max-upload-size and TECKEN_MAX_UPLOAD_SIZE. The flag wins over the variable,
// the variable over the default. Only flags that begin with "tecken-" or "sentry-" have a variable, and a
// "tecken-" flag may be written without its prefix (--max-upload-size).
//
// A variable that is set but empty counts as not set, save where the setting is a [List]: there it is the
// empty list.
//
// [Parse] reports every variable that it cannot read and everything that the struct's Validate finds at
// once, each named by its variable. It checks the form of what it read, not the world: whether a
// directory, a bucket or a database exists is found out by those who open it. A fault never shows the
// value of a URL, which may hold a password.
package config
