// Package pause lets a goroutine rest for a while, or until its context ends.
//
// client has a copy of its own: who imports the SDK gets no other package of this module.
package pause
