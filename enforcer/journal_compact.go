package enforcer

import (
	"errors"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sealedSegments counts what could be compacted: the segments after the base that
// are not written to any more. So the journal takes at most about twice what is
// live, plus compactBytes and one segment, and never more than maxSealedFactor times that.
type sealedSegments struct {
	mu    sync.Mutex
	base  int64  // bytes of the base
	bytes int64  // of the sealed segments since
	last  uint64 // the newest of them
	end   int64  // how many of its bytes count
}

const (
	// compactBytes is the size at which sealed segments are compacted, or the base's if that is larger.
	compactBytes = 32 << 20
	// maxSealedFactor times that is where the journal refuses records, because compacting fails or cannot keep up.
	maxSealedFactor = 16
)

var errJournalFull = errors.New("the journal grows faster than it can be compacted")

// add seals a segment and reports whether compacting is due.
func (s *sealedSegments) add(seq uint64, size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += size
	s.last, s.end = seq, size
	return s.due()
}

func (s *sealedSegments) due() bool { return s.bytes >= max(compactBytes, s.base) }

func (s *sealedSegments) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes >= maxSealedFactor*max(compactBytes, s.base)
}

// compact merges the base and the sealed segments into a new base, if there is
// enough of them. Writing goes on meanwhile.
func (j *journal) compact() error {
	s := &j.sealed
	s.mu.Lock()
	due, last, end, merged := s.due(), s.last, s.end, s.bytes
	s.mu.Unlock()
	if !due {
		return nil
	}
	files, err := j.files()
	if err != nil {
		return err
	}
	for len(files) > 0 && files[len(files)-1].seq > last {
		files = files[:len(files)-1]
	}
	live := newLiveRecords()
	if _, err := j.readFiles(files, end, live); err != nil {
		return err
	}
	if err := j.writeBase(last, live); err != nil {
		return err
	}
	s.mu.Lock()
	s.bytes -= merged
	s.mu.Unlock()
	return nil
}

// writeBase makes the live records durable as the base that stands for every
// segment up to seq, and removes those.
func (j *journal) writeBase(seq uint64, live *liveRecords) error {
	var size int64
	err := replaceFile(j.fs, j.basePath(seq), func(f vfs.File) error {
		buf := appendSegmentHeader(nil, segmentHeader{seq: seq, kernel: j.kernel, doubt: j.doubt})
		flush := func(above int) error {
			if len(buf) <= above {
				return nil
			}
			n, err := f.Write(buf)
			size += int64(n)
			buf = buf[:0]
			return err
		}
		for id, r := range live.reservations {
			buf = appendLive(buf, id, r)
			if err := flush(baseWriteBytes); err != nil {
				return err
			}
		}
		for _, d := range live.draws {
			buf = appendDraw(buf, *d)
			if err := flush(baseWriteBytes); err != nil {
				return err
			}
		}
		return flush(0)
	})
	if err != nil {
		return err
	}
	j.sealed.mu.Lock()
	j.sealed.base = size
	j.sealed.mu.Unlock()
	return j.removeVoid(seq)
}

// baseWriteBytes is the size of the writes that a base is made of.
const baseWriteBytes = 64 << 10

// removeVoid removes what the base seq stands for, and bases that were not finished. The watermark's unfinished file is not its own.
func (j *journal) removeVoid(seq uint64) error {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return err
	}
	base := journalFile{seq: seq, base: true}.name()
	segment := journalFile{seq: seq}.name()
	for _, name := range names {
		journals := strings.HasSuffix(name, baseSuffix) || strings.HasSuffix(name, segmentSuffix)
		if journals && name != base && name <= segment || strings.HasSuffix(name, baseSuffix+tmpSuffix) {
			if err := j.fs.Remove(j.fs.PathJoin(j.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
