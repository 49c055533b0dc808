//go:build !linux

package baseline

import (
	"errors"
	"syscall"
)

func child(a *syscall.SysProcAttr) *syscall.SysProcAttr { return a }

// unprivileged does nothing: a PostgreSQL that is not started by root needs no other user.
func unprivileged(string) error { return nil }

func owner(string) *syscall.SysProcAttr { return nil }

// Pause stops the process where it stands. It is known on Linux only.
func (s *Server) Pause() error { return errors.ErrUnsupported }

// Resume lets a paused process go on.
func (s *Server) Resume() error { return errors.ErrUnsupported }
