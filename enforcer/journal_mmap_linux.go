package enforcer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// mappedFile is a segment that lies in memory shared with the kernel (MAP_SHARED).
// What is stored there is in the page cache, as after write(2): it outlives the
// process, and neither outlives the machine. A store costs no system call.
//
// A kill may come within a store, and a copy may store its last bytes before its
// first. So records are copied one by one, each begun when the one before is whole:
// of the last record any bytes may be missing, and of those before it none.
//
// The file grows by growBytes of zeros, with write(2). That is where a full disk is
// told, as an error; in a hole it would be a fault. It is also the cheapest way to a
// new page: a fault in a hole, or in blocks set aside, takes twice as long or longer.
//
// A store to a page that is not there waits for the kernel, perhaps for the disk, in
// the middle of Go code: the collector, and so every goroutine, would wait too. So
// the pages ahead are touched in a system call, which the runtime goes on beside, as
// beside a write(2); and again after touchedFor, because the kernel takes a page back
// when it has written it to the disk, after some 30 s. What is left, a page that goes
// between the two, costs a wait only while the disk makes it one.
//
// A page that cannot be had (a disk error, a file cut short by somebody) is an error
// of that system call, or a fault in a store, which is made an error.
type mappedFile struct {
	file vfs.File
	mem  []byte // as long as the file may become
	size int    // of the file
	// touched is when the pages from the last record on were, in Unix milliseconds.
	touched int64
}

const (
	growBytes  = 64 << 10 // some 200 reservations of ten budgets
	touchedFor = 1000     // milliseconds
)

var zeros [growBytes]byte

// mapSegment makes a file that holds a header and nothing else a segment of up to
// room bytes, mapped if that can be done. unmapped says why it is not.
func mapSegment(file vfs.File, room, now int64) (f segmentFile, unmapped error) {
	fd := file.Fd()
	if fd == vfs.InvalidFd {
		return writtenFile{file}, errCannotMap
	}
	mem, err := unix.Mmap(int(fd), 0, int(room), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return writtenFile{file}, fmt.Errorf("mmap: %w", err)
	}
	m := &mappedFile{file: file, mem: mem, size: segmentHeaderBytes}
	if err := m.touch(0, now); err != nil { // a kernel before 5.14
		return writtenFile{file}, errors.Join(err, unix.Munmap(mem))
	}
	return m, nil
}

func (f *mappedFile) write(records []byte, at, now int64) error {
	end := int(at) + len(records)
	age := now - f.touched
	if end > f.size || age < 0 || age > touchedFor {
		if err := f.grow(end); err != nil {
			return err
		}
		if err := f.touch(int(at), now); err != nil {
			return err
		}
	}
	return storeRecords(f.mem[at:end], records)
}

// grow makes the file at least size bytes long.
func (f *mappedFile) grow(size int) error {
	for f.size < size {
		to := min(f.size-f.size%growBytes+growBytes, len(f.mem))
		if _, err := f.file.Write(zeros[:to-f.size]); err != nil {
			return err
		}
		f.size = to
	}
	return nil
}

// touch makes the pages from a byte on ready to be stored to.
func (f *mappedFile) touch(from int, now int64) error {
	from -= from % unix.Getpagesize()
	if err := unix.Madvise(f.mem[from:f.size], unix.MADV_POPULATE_WRITE); err != nil {
		return fmt.Errorf("bytes %d to %d of the mapped file: %w", from, f.size, err)
	}
	f.touched = now
	return nil
}

// storeRecords copies records to a mapped file, one by one; see mappedFile.
func storeRecords(mem, records []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = faultError(r)
		}
	}()
	for len(records) > 0 {
		size := recordHeaderBytes + int(binary.LittleEndian.Uint16(records[4:]))
		mem = mem[copy(mem, records[:size]):]
		records = records[size:]
	}
	return nil
}

// faultError is the error for a fault in mapped memory. Any other panic goes on.
func faultError(panicked any) error {
	if fault, ok := panicked.(interface {
		error
		Addr() uintptr
	}); ok {
		return fmt.Errorf("the mapped file: %w", fault)
	}
	panic(panicked)
}

// sync: fsync(2) covers what was stored to a mapping of the file.
func (f *mappedFile) sync() error { return f.file.Sync() }

func (f *mappedFile) seal(size int64) error {
	return errors.Join(unix.Munmap(f.mem), unix.Ftruncate(int(f.file.Fd()), size), f.file.Close())
}

func (f *mappedFile) abandon() error { return errors.Join(unix.Munmap(f.mem), f.file.Close()) }
