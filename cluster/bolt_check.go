package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
)

// The hazard: bbolt maps its file into memory and follows what is written there, in
// goroutines of its own as well, so a file that was cut short or damaged ends the process with a
// fault or a panic that nobody can catch. So every page that bbolt would follow is looked at before
// the file is opened. What is in the values has sums of its own (seal.go).

// A bbolt file begins with two meta pages; the sound one of the latest transaction counts: the other
// is that of the transaction before, or what a power cut left of the next. Integers are in the
// machine's order: little endian wherever this program runs.
//
//	page     id u64, flags u16, elements u16, further pages u32; then the elements, then what they lead to
//	meta     page header; magic u32, version u32, page size u32, flags u32, root bucket, free list u64,
//	         pages of the whole file u64, txid u64, FNV-1a of the 56 bytes before it u64
//	branch   element: position u32 of its key, counted from the element, key bytes u32, page u64
//	leaf     element: flags u32, position u32 of key and value, key bytes u32, value bytes u32
//	bucket   the value of a leaf element with flag 1: root page u64, sequence u64; if the root is 0, a page follows at once
const (
	boltMagic       = 0xED0CDAED
	boltPageHead    = 16
	boltMetaBytes   = 64
	boltHeadBytes   = 128 << 10 // two pages of the largest size in use
	boltLeastBytes  = boltPageHead + boltMetaBytes
	boltElement     = 16 // bytes, of either kind
	boltBucketBytes = 16
	boltBranchPage  = 1
	boltLeafPage    = 2
	boltBucketFlag  = 1
	maxBoltDepth    = 64
)

// checkBolt refuses a bbolt file that is shorter than it says, or whose pages do not make
// a tree. What is no bbolt file at all, bbolt refuses.
func checkBolt(path string) error {
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
	meta := latestBoltMeta(head)
	if meta == nil {
		return nil
	}
	if want := meta.pageSize * int64(meta.pages); info.Size() < want {
		return fmt.Errorf("raft's log %s has been cut short: it has %d bytes and should have %d at least; %s", path, info.Size(), want, anew)
	}
	c := boltChecker{file: f, meta: *meta, seen: map[uint64]bool{}}
	if err := c.tree(meta.root, nil, 0); err != nil {
		return fmt.Errorf("raft's log %s is damaged: %w; %s", path, err, anew)
	}
	return nil
}

// anew is what to do about a raft log that is not whole.
const anew = "remove this node, empty its data directory and let it join anew"

type boltMeta struct {
	pageSize          int64
	root, pages, txid uint64
}

// latestBoltMeta returns the meta page that counts, or nil if the file is none of bbolt's.
func latestBoltMeta(head []byte) (latest *boltMeta) {
	for at, end := 0, len(head)-boltLeastBytes; at <= end; {
		meta := head[at+boltPageHead:][:boltMetaBytes]
		pageSize := int(binary.LittleEndian.Uint32(meta[8:]))
		sum := fnv.New64a()
		sum.Write(meta[:56])
		sound := binary.LittleEndian.Uint32(meta) == boltMagic && sum.Sum64() == binary.LittleEndian.Uint64(meta[56:])
		if txid := binary.LittleEndian.Uint64(meta[48:]); sound && (latest == nil || txid >= latest.txid) {
			latest = &boltMeta{int64(pageSize), binary.LittleEndian.Uint64(meta[16:]), binary.LittleEndian.Uint64(meta[40:]), txid}
		}
		if at > 0 {
			break
		}
		if !sound {
			pageSize = os.Getpagesize()
		}
		at = max(pageSize, boltLeastBytes)
	}
	return latest
}

// boltChecker walks the pages of one file as bbolt would. It reads keys and what leads to others, not the values, which
// may be hundreds of megabytes.
type boltChecker struct {
	file io.ReaderAt
	meta boltMeta
	seen map[uint64]bool
	head [boltPageHead]byte // of the page that is begun
	bufs [][]byte           // by depth
}

// boltPage is a page with its further ones, or a bucket's that lies within a leaf.
type boltPage struct {
	data []byte // its beginning: the elements and in a branch the keys
	size uint64
	rest io.ReaderAt // all of it, if data is not
}

// at returns n bytes. If they are not at hand they are read into *buf.
func (p *boltPage) at(pos, n uint64, buf *[]byte) ([]byte, error) {
	if pos+n <= uint64(len(p.data)) {
		return p.data[pos:][:n], nil
	}
	*buf = slices.Grow((*buf)[:0], int(n))[:n]
	_, err := p.rest.ReadAt(*buf, int64(pos))
	return *buf, err
}

// tree checks the page and all below it. from is the least key that may stand in it.
func (c *boltChecker) tree(id uint64, from []byte, depth int) error {
	if id < 2 || id >= c.meta.pages || c.seen[id] || depth > maxBoltDepth {
		return fmt.Errorf("page %d is out of place", id)
	}
	c.seen[id] = true
	head := c.head[:]
	if _, err := c.file.ReadAt(head, int64(id)*c.meta.pageSize); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	further := uint64(binary.LittleEndian.Uint32(head[12:]))
	if own := binary.LittleEndian.Uint64(head); own != id || further >= c.meta.pages-id {
		return fmt.Errorf("page %d says that it is page %d and %d more", id, own, further)
	}
	for i := id + 1; i <= id+further; i++ {
		if c.seen[i] {
			return fmt.Errorf("page %d is part of two", i)
		}
		c.seen[i] = true
	}
	page, err := c.read(id, head, 1+further, depth)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if err := c.page(page, from, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// read reads the beginning of a page that has so many in all: of a leaf the elements, and of any other everything.
func (c *boltChecker) read(id uint64, head []byte, pages uint64, depth int) (*boltPage, error) {
	begin := int64(id) * c.meta.pageSize
	p := &boltPage{size: uint64(c.meta.pageSize) * pages}
	p.rest = io.NewSectionReader(c.file, begin, int64(p.size))
	need := p.size
	if binary.LittleEndian.Uint16(head[8:]) == boltLeafPage {
		elements := boltPageHead + boltElement*uint64(binary.LittleEndian.Uint16(head[10:]))
		need = min(need, max(elements, uint64(c.meta.pageSize)))
	}
	for len(c.bufs) <= depth {
		c.bufs = append(c.bufs, nil)
	}
	p.data = slices.Grow(c.bufs[depth][:0], int(need))[:need]
	c.bufs[depth] = p.data
	_, err := p.rest.ReadAt(p.data, 0)
	return p, err
}

// page checks the elements of a page.
func (c *boltChecker) page(p *boltPage, from []byte, depth int) error {
	page := p.data
	flags, count := binary.LittleEndian.Uint16(page[8:]), int(binary.LittleEndian.Uint16(page[10:]))
	if flags != boltBranchPage && flags != boltLeafPage {
		return fmt.Errorf("it is of no kind that belongs there (%#x)", flags)
	}
	if len(page) < boltPageHead+count*boltElement || count == 0 && flags == boltBranchPage {
		return fmt.Errorf("it has no room for its %d elements", count)
	}
	last := from
	var keys [2][]byte // for one and the one before
	var bucket []byte
	for i := range count {
		at := boltPageHead + i*boltElement
		e := page[at:][:boltElement]
		var pos, keyBytes, valueBytes uint64
		if flags == boltBranchPage {
			pos, keyBytes = uint64(binary.LittleEndian.Uint32(e)), uint64(binary.LittleEndian.Uint32(e[4:]))
		} else {
			pos, keyBytes, valueBytes = uint64(binary.LittleEndian.Uint32(e[4:])), uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))
		}
		begin := uint64(at) + pos
		if begin < uint64(boltPageHead+count*boltElement) || begin+keyBytes+valueBytes > p.size {
			return fmt.Errorf("element %d lies outside of it", i)
		}
		key, err := p.at(begin, keyBytes, &keys[i%2])
		if err != nil {
			return err
		}
		if order := bytes.Compare(key, last); order < 0 || order == 0 && (i > 0 || flags == boltLeafPage && from == nil && keyBytes == 0) {
			return fmt.Errorf("element %d is out of order", i)
		}
		last = key
		switch {
		case flags == boltBranchPage:
			err = c.tree(binary.LittleEndian.Uint64(e[8:]), key, depth+1)
		case binary.LittleEndian.Uint32(e) == boltBucketFlag:
			var value []byte
			if value, err = p.at(begin+keyBytes, valueBytes, &bucket); err == nil {
				err = c.bucket(value, depth)
			}
		case binary.LittleEndian.Uint32(e) != 0:
			err = fmt.Errorf("element %d is of no known kind", i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks a bucket that is the value of a leaf's element.
func (c *boltChecker) bucket(value []byte, depth int) error {
	if len(value) < boltBucketBytes {
		return errors.New("a bucket is cut short")
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return c.tree(root, nil, depth+1)
	}
	if len(value) < boltBucketBytes+boltPageHead {
		return errors.New("a bucket within a page is cut short")
	}
	within := value[boltBucketBytes:]
	return c.page(&boltPage{data: within, size: uint64(len(within))}, nil, depth+1)
}
