package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The hazard: bbolt maps its file into memory and follows page numbers in goroutines of
// its own, so a file that was cut short ends the process with a fault or a panic that nobody can
// catch. So the file's size is compared with what it says of itself before it is opened.

// A bbolt file begins with two meta pages; the sound one of the latest transaction counts.
// Integers are in the machine's order: little endian wherever this program runs.
//
//	page header  16 bytes
//	magic u32, version u32, page size u32, flags u32, root 16 bytes, free list u64
//	pages u64    of the whole file
//	txid  u64
//	sum   u64    FNV-1a of the 56 bytes of the meta before it
const (
	boltMagic      = 0xED0CDAED
	boltMetaAt     = 16
	boltMetaBytes  = 64
	boltHeadBytes  = 128 << 10 // two pages of the largest size in use
	boltLeastBytes = boltMetaAt + boltMetaBytes
)

// checkBoltSize refuses a bbolt file that is shorter than it says. What is no bbolt file, bbolt refuses.
func checkBoltSize(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	head, err := io.ReadAll(io.LimitReader(f, boltHeadBytes))
	if err != nil {
		return fmt.Errorf("read raft's log %s: %w", path, err)
	}
	if want := boltSize(head); info.Size() < want {
		return fmt.Errorf("raft's log %s has been cut short: it has %d bytes and should have %d at least; remove this node, empty its data directory and let it join anew", path, info.Size(), want)
	}
	return nil
}

// boltSize returns how many bytes a file that begins with head must have, or 0 if it does not say.
func boltSize(head []byte) int64 {
	var size int64
	var latest uint64
	for at, end := 0, len(head)-boltLeastBytes; at <= end; {
		meta := head[at+boltMetaAt:][:boltMetaBytes]
		pageSize := int(binary.LittleEndian.Uint32(meta[8:]))
		sum := fnv.New64a()
		sum.Write(meta[:56])
		sound := binary.LittleEndian.Uint32(meta) == boltMagic && sum.Sum64() == binary.LittleEndian.Uint64(meta[56:])
		if txid := binary.LittleEndian.Uint64(meta[48:]); sound && txid >= latest {
			latest = txid
			size = int64(pageSize) * int64(binary.LittleEndian.Uint64(meta[40:]))
		}
		if at > 0 {
			break
		}
		if !sound {
			pageSize = os.Getpagesize()
		}
		at = max(pageSize, boltLeastBytes)
	}
	return size
}
