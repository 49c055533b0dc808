package bench

import (
	"os"
	"strconv"
	"strings"
)

// readMachine adds up the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal. Idle and iowait are not busy.
func readMachine() (t machineTime) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}
	}
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0] != "cpu" {
		return machineTime{}
	}
	const idle, iowait, steal = 3, 4, 7
	for i, f := range fields[1:] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return machineTime{}
		}
		if i > steal {
			break // guests' time is in user already
		}
		t.all += n
		if i != idle && i != iowait {
			t.busy += n
		}
	}
	return t
}
