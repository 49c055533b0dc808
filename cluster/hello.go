package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5"
)

// Every connection begins with the dialer's hello and the listener's answer:
//
//	hello   purpose u8 ('R' raft; 'P', 'L', 'S' requests: see laneOf) | version u8 | length u16 | msgpack
//	answer  0 or 1 (refused)                    | version u8 | length u16 | msgpack
//
// So on plain TCP the first byte says what the connection is for; under TLS the
// ALPN protocol says it too, and both must agree.
type purpose byte

const (
	forRaft     purpose = 'R'
	forRPC      purpose = 'P'
	forLeases   purpose = 'L'
	forSessions purpose = 'S'
)

// known reports whether this release serves the purpose.
func (p purpose) known() bool {
	return p == forRaft || p == forRPC || p == forLeases || p == forSessions
}

// alpn returns the TLS protocol name of the purpose.
func (p purpose) alpn() string {
	if p == forRaft {
		return "bursar-raft"
	}
	return "bursar-rpc"
}

const (
	helloVersion  = 1
	maxHelloBytes = 4 << 10
)

// hello introduces the dialer.
type hello struct {
	Name    string `msgpack:"n"`
	Run     string `msgpack:"r"`           // identifies the process; later starts sort later
	Addr    string `msgpack:"a"`           // where it can be dialed
	Cluster string `msgpack:"c,omitempty"` // empty: it belongs to none yet
	Fresh   bool   `msgpack:"f,omitempty"` // it has no raft state
	Want    string `msgpack:"w,omitempty"` // the name it expects to have reached; empty: whoever it is
	Reads   uint8  `msgpack:"v,omitempty"` // the highest version of log entries that it reads; 0: the first
}

// welcome is the listener's answer.
type welcome struct {
	Name    string `msgpack:"n"`
	Run     string `msgpack:"r"`
	Cluster string `msgpack:"c,omitempty"`
	Refusal string `msgpack:"e,omitempty"` // why, if refused
	Reads   uint8  `msgpack:"v,omitempty"` // as in hello
}

var errHello = errors.New("the peer does not speak this protocol")

func writeGreeting(w io.Writer, first byte, v any) error {
	body, err := msgpack.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxHelloBytes {
		return fmt.Errorf("%w: greeting of %d bytes", errHello, len(body))
	}
	b := []byte{first, helloVersion}
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	_, err = w.Write(append(b, body...))
	return err
}

// readGreeting reads exactly one greeting: what follows belongs to the protocol chosen.
func readGreeting(r io.Reader, v any) (first byte, err error) {
	var h [4]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, err
	}
	if h[1] != helloVersion {
		return 0, fmt.Errorf("%w: version %d, this node speaks %d", errHello, h[1], helloVersion)
	}
	length := binary.BigEndian.Uint16(h[2:])
	if length > maxHelloBytes {
		return 0, fmt.Errorf("%w: greeting of %d bytes", errHello, length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, noEOF(err)
	}
	if err := msgpack.Unmarshal(body, v); err != nil {
		return 0, fmt.Errorf("%w: %v", errHello, err)
	}
	return h[0], nil
}
