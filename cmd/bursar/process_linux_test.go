package main

import "syscall"

// dieWithParent lets the kernel kill a process when the test binary dies, however that ends.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
