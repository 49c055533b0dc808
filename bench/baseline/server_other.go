//go:build !linux

package baseline

import "syscall"

func child(a *syscall.SysProcAttr) *syscall.SysProcAttr { return a }

// unprivileged does nothing: a PostgreSQL that is not started by root needs no other user.
func unprivileged(string) error { return nil }

func owner(string) *syscall.SysProcAttr { return nil }
