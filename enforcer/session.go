package enforcer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The session file holds the number of this node's latest session (its boot
// epoch), durable before the session is proposed: 8 bytes and their CRC-32C, little endian.
const (
	sessionName  = "session"
	sessionBytes = 12
)

// errSessionDamaged says that the session file is not what was written.
var errSessionDamaged = errors.New("the session file is damaged; restore it or remove it if this node was never a member")

// readSession returns the latest session, 0 if there was none.
func readSession(fs vfs.FS, dir string) (uint64, error) {
	f, err := fs.Open(fs.PathJoin(dir, sessionName))
	if errors.Is(err, iofs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, sessionBytes+1))
	if err != nil {
		return 0, err
	}
	if len(data) != sessionBytes || binary.LittleEndian.Uint32(data[8:]) != crc32.Checksum(data[:8], castagnoli) {
		return 0, fmt.Errorf("%w: %s", errSessionDamaged, fs.PathJoin(dir, sessionName))
	}
	return binary.LittleEndian.Uint64(data), nil
}

// writeSession makes a session durable.
func writeSession(fs vfs.FS, dir string, session uint64) error {
	var data [sessionBytes]byte
	binary.LittleEndian.PutUint64(data[:], session)
	binary.LittleEndian.PutUint32(data[8:], crc32.Checksum(data[:8], castagnoli))
	return replaceFile(fs, fs.PathJoin(dir, sessionName), func(f vfs.File) error {
		_, err := f.Write(data[:])
		return err
	})
}
