package enforcer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/bursar-dev/bursar/fsm"
)

// journalFile is a file of the journal's directory.
type journalFile struct {
	seq  uint64
	base bool
}

func (f journalFile) name() string {
	if f.base {
		return fmt.Sprintf("%016x%s", f.seq, baseSuffix)
	}
	return fmt.Sprintf("%016x%s", f.seq, segmentSuffix)
}

func (j *journal) segmentPath(seq uint64) string {
	return j.fs.PathJoin(j.dir, journalFile{seq: seq}.name())
}

func (j *journal) basePath(seq uint64) string {
	return j.fs.PathJoin(j.dir, journalFile{seq: seq, base: true}.name())
}

// files lists the journal's files from the last base on, by sequence. What is
// older than the base is void.
func (j *journal) files() ([]journalFile, error) {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return nil, err
	}
	var all []journalFile
	for _, name := range names {
		stem, base := strings.CutSuffix(name, baseSuffix)
		if !base {
			var segment bool
			if stem, segment = strings.CutSuffix(name, segmentSuffix); !segment {
				continue
			}
		}
		seq, err := strconv.ParseUint(stem, 16, 64)
		if err != nil || len(stem) != 16 {
			return nil, fmt.Errorf("%w: %s is not a name the journal gives; move it away", errJournalDamaged, name)
		}
		all = append(all, journalFile{seq: seq, base: base})
	}
	slices.SortFunc(all, func(a, b journalFile) int {
		// The suffixes sort a base before the segment of its number, which it stands for too.
		return cmp.Or(cmp.Compare(a.seq, b.seq), -cmp.Compare(a.name(), b.name()))
	})
	from := 0
	for i, f := range all {
		if f.base {
			from = i
		}
	}
	return all[from:], nil
}

// restore reads the journal. It leaves j.seq at the number for the new base.
func (j *journal) restore() (*liveRecords, journalState, error) {
	live := newLiveRecords()
	if err := makeDir(j.fs, j.dir); err != nil {
		return nil, journalState{}, err
	}
	mark, marked, err := readWatermark(j.fs, j.dir)
	if err != nil {
		return nil, journalState{}, err
	}
	files, err := j.files()
	if err != nil {
		return nil, journalState{}, err
	}
	sameKernel := true
	if len(files) > 0 {
		if sameKernel, err = j.readFiles(files, -1, live); err != nil {
			return nil, journalState{}, err
		}
		j.seq, j.doubt = files[len(files)-1].seq+1, live.doubt
	}
	if lost := !live.clean && !sameKernel; lost || len(files) == 0 && marked || len(files) > 0 && !marked {
		if !marked {
			// The mark itself is gone. No reservation lives longer than this without being extended by a running node.
			mark = j.now() + fsm.MaxReserveTTL.Milliseconds()
		}
		j.doubt = max(j.doubt, mark)
		if err := j.markForgot(); err != nil {
			return nil, journalState{}, err
		}
	}
	j.mark.durable.Store(mark)
	j.mark.wanted.Store(mark)
	if !marked {
		j.mark.wanted.Store(max(mark, j.now()+markAhead.Milliseconds()))
		if err := j.mark.advance(); err != nil {
			return nil, journalState{}, err
		}
	}
	s := journalState{Rebooted: j.doubt > j.now(), Watermark: j.doubt}
	if s.Forgot, err = j.forgot(); err != nil {
		return nil, journalState{}, err
	}
	s.Reservations, s.Draws = live.sorted()
	if s.Rebooted {
		j.log.Warn("the machine may have crashed: leases wait for the watermark",
			"dir", j.dir, "wait_ms", j.doubt-j.now(), "reservations", len(s.Reservations), "draws", len(s.Draws))
	} else {
		j.doubt, s.Watermark = 0, mark
	}
	return live, s, nil
}

// readFiles applies the files in order. end is how many bytes of the last one
// count, or -1: it may end in a torn record. sameKernel reports whether they were
// written under the present kernel; only if not, damage is taken as what a crash
// of the machine leaves, and reported in the log instead of returned.
func (j *journal) readFiles(files []journalFile, end int64, live *liveRecords) (sameKernel bool, err error) {
	var problems []error
	next, err := j.readFile(files[0])
	if err != nil {
		return false, err
	}
	for i, f := range files {
		data, count := next, end
		if i+1 < len(files) {
			if next, err = j.readFile(files[i+1]); err != nil {
				return false, err
			}
			count = -1
			if h, ok := parseSegmentHeader(next); ok {
				count = int64(h.prev)
			}
			if files[i+1].seq != f.seq+1 {
				problems = append(problems, fmt.Errorf("%w: segment %d is missing", errJournalDamaged, f.seq+1))
			}
		}
		h, ok := parseSegmentHeader(data)
		if ok {
			sameKernel = h.kernel.same(j.kernel)
			live.doubt = max(live.doubt, h.doubt)
		}
		if f.base {
			count = int64(len(data))
		}
		if err := readSegment(data, ok && h.seq == f.seq, count, i+1 == len(files), live); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", f.name(), err))
		} else if n := int64(len(data)); count < 0 && n > 0 && live.torn > 0 {
			j.log.Warn("journal ends in a torn record, as after a crash", "file", f.name(), "bytes", live.torn)
		}
	}
	if len(problems) > 0 && sameKernel {
		return true, problems[0]
	}
	for _, p := range problems {
		live.clean = false
		j.log.Warn("journal has a hole, as after a crash of the machine", "err", p)
	}
	return sameKernel, nil
}

// readSegment applies a file's records. count is how many of its bytes count, or
// -1: all up to a torn record. Only the last file may end within its header.
func readSegment(data []byte, header bool, count int64, last bool, live *liveRecords) error {
	live.torn = 0
	switch {
	case last && count < 0 && len(data) < segmentHeaderBytes:
		live.torn = len(data)
		return nil
	case !header:
		return fmt.Errorf("%w: its header cannot be read", errJournalDamaged)
	case count > int64(len(data)):
		return fmt.Errorf("%w: it has %d bytes and should have %d", errJournalDamaged, len(data), count)
	case count >= segmentHeaderBytes:
		data = data[:count]
	}
	n, err := readRecords(data[segmentHeaderBytes:], live)
	if err != nil {
		return err
	}
	n += segmentHeaderBytes
	if n == len(data) {
		return nil
	}
	if count >= 0 || recordFollows(data[n+1:]) {
		return fmt.Errorf("%w: the record at byte %d of %d cannot be read, and it is not the last", errJournalDamaged, n, len(data))
	}
	live.torn = len(data) - n
	return nil
}

func (j *journal) readFile(f journalFile) ([]byte, error) {
	file, err := j.fs.Open(j.fs.PathJoin(j.dir, f.name()))
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	data := make([]byte, info.Size()) // nobody writes to it while it is read
	_, err = io.ReadFull(file, data)
	return data, errors.Join(err, file.Close())
}
