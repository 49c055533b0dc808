// Package archtest holds no code, only tests of the module's structure: which
// package may import which, and that the replicated state machine reads no clock
// and no network. They fail the build when an arrow runs back.
package archtest
