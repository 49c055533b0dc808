package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// readMemory reads what a process has of memory from /proc.
func readMemory(pid int) (m Memory) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			m.Resident = n << 10
		case "RssAnon:":
			m.Anonymous = n << 10
		}
	}
	return m
}

// clockTick is the unit of /proc/<pid>/stat: USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// processCPU is the processor time that a process has used.
func processCPU(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name before it may hold anything
	f := strings.Fields(rest)
	const user, system = 11, 12 // fields 14 and 15 of all
	if len(f) <= system {
		return 0
	}
	u, _ := strconv.ParseInt(f[user], 10, 64)
	s, _ := strconv.ParseInt(f[system], 10, 64)
	return time.Duration(u+s) * clockTick
}
