//go:build !linux

package bench

import "time"

// readMemory is known on Linux only.
func readMemory(int) Memory { return Memory{} }

// processCPU is known on Linux only.
func processCPU(int) time.Duration { return 0 }
