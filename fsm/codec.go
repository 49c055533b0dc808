package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/vmihailenco/msgpack/v5"
)

// An encoded command:
//
//	magic 0xB5 | version u8 | kind u8 | CRC-32C u32 of everything else | msgpack Command | msgpack body
//	magic 0xB5 | 3          | kind u8 | CRC-32C u32 of everything else | packed Reconcile (see codec_part.go)
//
// The version of an entry also says how what it writes is encoded, because every
// replica has to write the same bytes, whatever release it runs:
//
//	1  ledger lines are not chained yet (see chain.go); values are msgpack
//	2  ledger lines are chained; clocks of nodes may differ (see clockSlack)
//	3  a Reconcile is packed, and so are the values that codec_line.go lists
//
// Kinds were added with versions 2 and 3, and are unknown in earlier ones (see Since).
//
// The checksum makes a damaged entry a rejection instead of a different command.
// Unknown versions, kinds and fields are rejected too: a replica that skipped
// what it does not know would drift from one that knows it.
const (
	commandMagic   = 0xB5
	commandVersion = LogVersion
	commandHeader  = 7 // bytes before the body
	packedFrom     = 3 // the first version whose Reconcile and whose values are packed
)

// Versions of encoded commands. A leader writes LogVersion once it knows that
// every member reads that, and until then the first, which all do.
const (
	LogVersion      = 3
	FirstLogVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode encodes a command for the log as LogVersion. It fails only if the command has no
// body, or is larger than MaxCommandBytes.
func Encode(c *Command) ([]byte, error) { return EncodeVersion(c, LogVersion) }

// EncodeVersion is Encode as an earlier version. A body that releases of that version cannot
// read is a conflict: some replicas would apply the entry, and some reject it.
func EncodeVersion(c *Command, version uint8) ([]byte, error) {
	if c.Body == nil {
		return nil, invalid("body", "is missing")
	}
	if version < Since(c.Body) {
		return nil, ErrReleases
	}
	data := make([]byte, commandHeader, 256)
	data[0], data[1], data[2] = commandMagic, version, byte(c.Body.kind())
	if r, ok := c.Body.(Reconcile); ok && version >= packedFrom {
		return complete(appendReconcile(data, c, &r, nil))
	}
	data, err := appendMsgpack(data, c)
	if err == nil {
		data, err = appendMsgpack(data, c.Body)
	}
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	return complete(data)
}

// EncodeParts encodes a Reconcile of packed parts as LogVersion; c has no body. It fails only if that is larger
// than MaxCommandBytes.
func EncodeParts(c *Command, parts []PackedPart) ([]byte, error) {
	size := 256
	for _, p := range parts {
		size += len(p)
	}
	data := make([]byte, commandHeader, size)
	data[0], data[1], data[2] = commandMagic, LogVersion, byte(kindReconcile)
	return complete(appendReconcile(data, c, &Reconcile{}, parts))
}

// complete gives an encoded command its checksum.
func complete(data []byte) ([]byte, error) {
	if len(data) > MaxCommandBytes {
		return nil, &Error{
			Code:    CodeTooLarge,
			Message: fmt.Sprintf("the command has %d bytes, at most %d are allowed", len(data), MaxCommandBytes),
			Numbers: map[string]int64{"bytes": int64(len(data)), "limit": MaxCommandBytes},
		}
	}
	binary.BigEndian.PutUint32(data[3:], commandCRC(data))
	return data, nil
}

// commandCRC sums all of an encoded command but the sum itself.
func commandCRC(data []byte) uint32 {
	return crc32.Update(crc32.Checksum(data[:3], castagnoli), castagnoli, data[commandHeader:])
}

// Decode decodes a command. Unknown or damaged input is an *Error with
// CodeCorrupt, never a panic. The body is a value, not a pointer.
func Decode(data []byte) (*Command, error) { return decodeCommand(data, &unpackMemory{}) }

// decodeCommand is Decode; a Reconcile that is packed is made of m.
func decodeCommand(data []byte, m *unpackMemory) (*Command, error) {
	switch {
	case len(data) < commandHeader:
		return nil, corrupt("it has %d bytes", len(data))
	case len(data) > MaxCommandBytes:
		return nil, corrupt("it has %d bytes, at most %d are allowed", len(data), MaxCommandBytes)
	case data[0] != commandMagic:
		return nil, corrupt("it does not begin like a command")
	case data[1] == 0 || data[1] > commandVersion:
		return nil, corrupt("it has version %d, this release knows %d", data[1], commandVersion)
	case binary.BigEndian.Uint32(data[3:]) != commandCRC(data):
		return nil, corrupt("its checksum does not match")
	}
	decode := bodyDecoder(kind(data[2]))
	if decode == nil || data[1] < kind(data[2]).since() {
		return nil, corrupt("its kind %d is unknown", data[2])
	}
	if data[1] >= packedFrom && kind(data[2]) == kindReconcile {
		c, sound := unpackReconcile(data[commandHeader:], m)
		if !sound {
			return nil, corrupt("its body cannot be read")
		}
		return c, nil
	}
	r := bytes.NewReader(data[commandHeader:])
	d := msgpack.NewDecoder(r)
	d.DisallowUnknownFields(true)
	c := new(Command)
	if err := d.Decode(c); err != nil {
		return nil, corrupt("its envelope cannot be read")
	}
	var err error
	if c.Body, err = decode(d); err != nil {
		return nil, corrupt("its body cannot be read")
	}
	if r.Len() > 0 {
		return nil, corrupt("%d bytes follow it", r.Len())
	}
	return c, nil
}

// Since returns the first version of an encoded command that body can be in.
func Since(body Body) uint8 { return body.kind().since() }

func (k kind) since() uint8 {
	switch k {
	case kindFinalizeStatement, kindPutInvoice:
		return 2
	case kindSetRetention, kindMarkExported, kindDropLines:
		return 3
	}
	return FirstLogVersion
}

// bodyDecoder returns what decodes a body of kind k, or nil.
func bodyDecoder(k kind) func(*msgpack.Decoder) (Body, error) {
	switch k {
	case kindInit:
		return decodeBody[Init]
	case kindPutAccount:
		return decodeBody[PutAccount]
	case kindFreezeAccount:
		return decodeBody[FreezeAccount]
	case kindPutEntityTypes:
		return decodeBody[PutEntityTypes]
	case kindPutCapabilities:
		return decodeBody[PutCapabilities]
	case kindPutEntities:
		return decodeBody[PutEntities]
	case kindArchiveEntity:
		return decodeBody[ArchiveEntity]
	case kindMoveEntity:
		return decodeBody[MoveEntity]
	case kindPutAssignments:
		return decodeBody[PutAssignments]
	case kindDeleteAssignment:
		return decodeBody[DeleteAssignment]
	case kindPutToken:
		return decodeBody[PutToken]
	case kindDeleteToken:
		return decodeBody[DeleteToken]
	case kindReconcile:
		return decodeBody[Reconcile]
	case kindAdmitNode:
		return decodeBody[AdmitNode]
	case kindRemoveNode:
		return decodeBody[RemoveNode]
	case kindBootNode:
		return decodeBody[BootNode]
	case kindDeadNode:
		return decodeBody[DeadNode]
	case kindRecoverNode:
		return decodeBody[RecoverNode]
	case kindDrainNode:
		return decodeBody[DrainNode]
	case kindForfeit:
		return decodeBody[Forfeit]
	case kindBackup:
		return decodeBody[Backup]
	case kindRestore:
		return decodeBody[Restore]
	case kindEndDoubt:
		return decodeBody[EndDoubt]
	case kindPutPrices:
		return decodeBody[PutPrices]
	case kindCorrect:
		return decodeBody[Correct]
	case kindFinalizeStatement:
		return decodeBody[FinalizeStatement]
	case kindPutInvoice:
		return decodeBody[PutInvoice]
	case kindSetRetention:
		return decodeBody[SetRetention]
	case kindMarkExported:
		return decodeBody[MarkExported]
	case kindDropLines:
		return decodeBody[DropLines]
	}
	return nil
}

func decodeBody[T Body](d *msgpack.Decoder) (Body, error) {
	var b T
	err := d.Decode(&b)
	return b, err
}

func corrupt(format string, args ...any) *Error {
	return &Error{Code: CodeCorrupt, Message: "the command cannot be decoded: " + fmt.Sprintf(format, args...)}
}
