package baseline

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// child makes a program die with the benchmark, whatever ends that.
func child(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	if a == nil {
		a = new(syscall.SysProcAttr)
	}
	a.Pdeathsig = syscall.SIGKILL
	return a
}

// unprivileged gives dir to the user postgres, or nobody, when this is root: PostgreSQL refuses to run as root.
func unprivileged(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid) // numbers, on Linux
		gid, _ := strconv.Atoi(u.Gid)
		return os.Chown(dir, uid, gid)
	}
	return fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// owner runs a program as the owner of dir, if that is another user.
func owner(dir string) *syscall.SysProcAttr {
	info, err := os.Stat(dir)
	if err != nil {
		return nil // the program will say so
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: st.Uid, Gid: st.Gid}}
	}
	return nil
}

// Pause stops the process where it stands, as a debugger or a machine out of memory would.
func (s *Server) Pause() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *Server) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }
