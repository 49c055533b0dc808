package enforcer

import (
	"encoding/hex"
	"os"
	"strings"
)

// kernelBoot names one run of the operating system's kernel. What was handed to
// the kernel with write(2) is safe as long as the same kernel runs.
type kernelBoot [16]byte

const kernelBootFile = "/proc/sys/kernel/random/boot_id"

// thisKernelBoot returns the present one, or zero where the system does not
// tell. A zero never equals anything: it counts as another boot.
func thisKernelBoot() kernelBoot {
	var b kernelBoot
	text, err := os.ReadFile(kernelBootFile)
	if err != nil {
		return kernelBoot{}
	}
	digits := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if len(digits) != hex.EncodedLen(len(b)) {
		return kernelBoot{}
	}
	if _, err := hex.Decode(b[:], []byte(digits)); err != nil {
		return kernelBoot{}
	}
	return b
}

func (b kernelBoot) same(o kernelBoot) bool { return b == o && b != kernelBoot{} }
