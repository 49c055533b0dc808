package enforcer

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// segmentFile is the segment that is written to. Its methods are called one at a
// time. After an error its end is unknown, and it is only to be abandoned.
type segmentFile interface {
	// write puts whole records at byte at, where the last ones ended. Once it
	// returns nil they outlive the process. now is in Unix milliseconds.
	write(records []byte, at, now int64) error
	// sync makes what was written outlive the machine.
	sync() error
	// seal ends the file after size bytes and closes it.
	seal(size int64) error
	// abandon closes the file as it is.
	abandon() error
}

// errCannotMap says that a file has no memory to be mapped to: of another system, or not a real file.
var errCannotMap = errors.New("it cannot be mapped")

// createSegment makes a segment of this header that may become room bytes long. It is
// mapped where that can be done (see mappedFile) and written with write(2) where
// not: on other systems, in memory, on file systems that do not map files. unmapped says why.
//
// The header is written before the file grows. So whenever the process is killed,
// the file is shorter than a header or has a whole one.
func createSegment(vs vfs.FS, path string, header []byte, room, now int64) (f segmentFile, unmapped, err error) {
	file, err := vs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, nil, err
	}
	if _, err := file.Write(header); err != nil {
		return nil, nil, errors.Join(err, file.Close(), vs.Remove(path))
	}
	f, unmapped = mapSegment(file, room, now)
	return f, unmapped, nil
}

// writtenFile is a segment that is written with write(2).
type writtenFile struct{ vfs.File }

func (f writtenFile) write(records []byte, _, _ int64) error {
	_, err := f.Write(records)
	return err
}

func (f writtenFile) sync() error      { return f.Sync() }
func (f writtenFile) seal(int64) error { return f.Close() }
func (f writtenFile) abandon() error   { return f.Close() }
