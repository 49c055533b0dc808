package enforcer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/bursar-dev/bursar/fsm"
)

// The journal's directory:
//
//	watermark                    see watermark.go
//	0000000000000007.base        everything before segment 8, live records only
//	0000000000000008.journal     segments in order of time; the last one is written to
//	0000000000000009.journal
//	*.tmp                        unfinished: of a base, removed with what the next one stands for; of the watermark, overwritten
//
// A file is a header and records. All integers are little endian.
//
//	header (64 bytes)
//	  magic    8   "bursarJ1"
//	  seq      u64
//	  prev     u64  bytes of segment seq−1 that count; what follows them there is a
//	                write that failed. Not used where seq−1 is a base: all of it counts.
//	  kernel   16   the kernel boot id at the time of writing; zero: unknown
//	  doubt    i64  until this time (Unix ms) earlier records may be missing; see journal.go
//	  reserved 12   zero
//	  crc      u32  CRC-32C of the 60 bytes before it
//
//	record
//	  crc      u32  CRC-32C of what follows
//	  length   u16  of the payload
//	  kind     u8
//	  payload
//
//	id is node u16, boot u32, sequence u64, random u32
//	reserve (1)  id 18, expires i64, account u8+bytes, holds u16 × (assignment u64, start i64, amount i64, on u16)
//	extend  (2)  id 18, expires i64
//	end     (3)  id 18
//	draw    (4)  id 18, origin u16, boot u64, holds u16 × (assignment u64, start i64, amount i64)
//	endDraw (5)  id 18
//	clean   (6)  nothing; the last record of an orderly stop, made durable
//
// A later reserve or draw of the same id replaces the earlier one. An extend or
// end of an id that is not there means nothing.
//
// The last segment may end in a torn record: the crash came between two bytes.
// Damage with a valid record after it cannot come from a crash of the process and
// is refused, so that nobody spends what was reserved because a disk lost a bit.
// Only a crash of the machine may leave such holes, because pages are written
// back in any order; then every lease waits for the watermark anyway.
const (
	segmentMagic       = "bursarJ1"
	segmentHeaderBytes = 64
	recordHeaderBytes  = 7
	reserveHoldBytes   = 26
	drawHoldBytes      = 24

	segmentSuffix = ".journal"
	baseSuffix    = ".base"
	tmpSuffix     = ".tmp"
)

type recordKind uint8

const (
	recordReserve recordKind = iota + 1
	recordExtend
	recordEnd
	recordDraw
	recordEndDraw
	recordClean
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errJournalDamaged is returned for a journal that a crash cannot have left behind.
var errJournalDamaged = errors.New("the reservation journal is damaged")

// segmentHeader is the head of a journal file.
type segmentHeader struct {
	seq    uint64
	prev   uint64
	kernel kernelBoot
	doubt  int64
}

func appendSegmentHeader(b []byte, h segmentHeader) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, h.seq)
	b = binary.LittleEndian.AppendUint64(b, h.prev)
	b = append(b, h.kernel[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.doubt))
	b = append(b, make([]byte, 12)...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseSegmentHeader returns the header and whether it is whole.
func parseSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	if len(b) < segmentHeaderBytes || string(b[:8]) != segmentMagic ||
		binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return h, false
	}
	h.seq = binary.LittleEndian.Uint64(b[8:])
	h.prev = binary.LittleEndian.Uint64(b[16:])
	copy(h.kernel[:], b[24:])
	h.doubt = int64(binary.LittleEndian.Uint64(b[40:]))
	return h, true
}

// beginRecord appends a record's head; endRecord fills it in once the payload stands after it.
func beginRecord(b []byte, kind recordKind) (buf []byte, start int) {
	return append(b, 0, 0, 0, 0, 0, 0, byte(kind)), len(b)
}

func endRecord(b []byte, start int) []byte {
	binary.LittleEndian.PutUint16(b[start+4:], uint16(len(b)-start-recordHeaderBytes))
	binary.LittleEndian.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return b
}

func appendReserve(b []byte, id resID, account string, expires int64, holds []heldLine) []byte {
	b, start := beginRecord(b, recordReserve)
	b = appendID(b, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(expires))
	b = append(b, byte(len(account)))
	b = append(b, account...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(holds)))
	for i := range holds {
		b = appendHold(b, holds[i].Budget, holds[i].Amount)
		b = binary.LittleEndian.AppendUint16(b, uint16(holds[i].On))
	}
	return endRecord(b, start)
}

// appendLive writes a reservation as it was read, with its present expiry.
func appendLive(b []byte, id resID, r liveReservation) []byte {
	b, start := beginRecord(b, recordReserve)
	b = appendID(b, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.expires))
	return endRecord(append(b, r.rest...), start)
}

func appendExtend(b []byte, id resID, expires int64) []byte {
	b, start := beginRecord(b, recordExtend)
	b = appendID(b, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(expires))
	return endRecord(b, start)
}

func appendDraw(b []byte, d drawRecord) []byte {
	b, start := beginRecord(b, recordDraw)
	b = appendID(b, d.ID)
	b = binary.LittleEndian.AppendUint16(b, uint16(d.Origin))
	b = binary.LittleEndian.AppendUint64(b, d.Boot)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(d.Holds)))
	for i := range d.Holds {
		b = appendHold(b, d.Holds[i].Budget, d.Holds[i].Amount)
	}
	return endRecord(b, start)
}

// appendEnd writes an end or endDraw.
func appendEnd(b []byte, kind recordKind, id resID) []byte {
	b, start := beginRecord(b, kind)
	return endRecord(appendID(b, id), start)
}

func appendClean(b []byte) []byte {
	b, start := beginRecord(b, recordClean)
	return endRecord(b, start)
}

func appendID(b []byte, id resID) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(id.node))
	b = binary.LittleEndian.AppendUint32(b, id.boot)
	b = binary.LittleEndian.AppendUint64(b, id.seq)
	return binary.LittleEndian.AppendUint32(b, id.rnd)
}

func appendHold(b []byte, budget fsm.BudgetKey, amount int64) []byte {
	b = binary.LittleEndian.AppendUint64(b, budget.Assignment)
	b = binary.LittleEndian.AppendUint64(b, uint64(budget.Start))
	return binary.LittleEndian.AppendUint64(b, uint64(amount))
}

// parseRecord returns the record at the start of b and its size; size 0: there is no whole one.
func parseRecord(b []byte) (kind recordKind, payload []byte, size int) {
	if len(b) < recordHeaderBytes {
		return 0, nil, 0
	}
	size = recordHeaderBytes + int(binary.LittleEndian.Uint16(b[4:]))
	kind = recordKind(b[6])
	if len(b) < size || kind < recordReserve || kind > recordClean ||
		binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:size], castagnoli) {
		return 0, nil, 0
	}
	return kind, b[recordHeaderBytes:size], size
}

// readRecords applies the records of b to live and returns how many bytes of b
// they take. It stops at the first that is not whole. A record that is whole and
// makes no sense is an error.
func readRecords(b []byte, live *liveRecords) (n int, err error) {
	for n < len(b) {
		kind, payload, size := parseRecord(b[n:])
		if size == 0 {
			return n, nil
		}
		if !live.apply(kind, payload) {
			return n, fmt.Errorf("%w: a record of kind %d at byte %d cannot be read", errJournalDamaged, kind, n)
		}
		n += size
	}
	return n, nil
}

// recordFollows reports whether a whole record starts anywhere in b.
func recordFollows(b []byte) bool {
	for i := 0; i+recordHeaderBytes <= len(b); i++ {
		if _, _, size := parseRecord(b[i:]); size > 0 {
			return true
		}
	}
	return false
}
