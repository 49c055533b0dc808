// Package jsonescape finds the one kind of JSON that parsers read differently:
// escapes of half a character.
package jsonescape
