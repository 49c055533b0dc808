package client

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// Encoding is how bodies of the data plane are written.
type Encoding int

// The encodings. Field names are the same in both.
const (
	JSON Encoding = iota
	MsgPack
)

const (
	typeJSON    = "application/json"
	typeMsgPack = "application/msgpack"
	typeProblem = "application/problem+json"
)

func (e Encoding) contentType() string {
	if e == MsgPack {
		return typeMsgPack
	}
	return typeJSON
}

// accept names the encodings of answers; problems are JSON whatever the request was.
func (e Encoding) accept() string {
	if e == MsgPack {
		return typeMsgPack + ", " + typeProblem
	}
	return typeJSON + ", " + typeProblem
}

func (e Encoding) marshal(v any) ([]byte, error) {
	if e == JSON {
		return json.Marshal(v)
	}
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.SetCustomStructTag("json")
	enc.UseCompactInts(true)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// unmarshal decodes a body by its own content type. Fields it does not know are
// passed over: a newer server may add some.
func unmarshal(contentType string, data []byte, v any) error {
	if !strings.HasPrefix(contentType, typeMsgPack) {
		return json.Unmarshal(data, v)
	}
	// By way of JSON: the msgpack library does not read times from short strings,
	// which is how the contract writes them. An answer is small; this costs microseconds.
	dec := msgpack.NewDecoder(bytes.NewReader(data))
	dec.UseLooseInterfaceDecoding(true)
	document, err := dec.DecodeInterface()
	if err != nil {
		return err
	}
	asJSON, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return json.Unmarshal(asJSON, v)
}

// events joins encoded events into the body of an ingest. An event is encoded
// once, so every retry of it carries the same bytes.
func (e Encoding) events(encoded [][]byte) []byte {
	if e == MsgPack {
		var b bytes.Buffer
		enc := msgpack.NewEncoder(&b)
		// A bytes.Buffer does not fail.
		_ = enc.EncodeMapLen(1)
		_ = enc.EncodeString("events")
		_ = enc.EncodeArrayLen(len(encoded))
		b.Write(bytes.Join(encoded, nil))
		return b.Bytes()
	}
	var b bytes.Buffer
	b.WriteString(`{"events":[`)
	b.Write(bytes.Join(encoded, []byte{','}))
	b.WriteString(`]}`)
	return b.Bytes()
}

// eventsOverhead bounds what events adds to the sum of n encoded events: the
// envelope, and a comma an event.
func eventsOverhead(n int) int { return len(`{"events":[]}`) + n }

// msgpackEvent is Event with its time as text: the contract has RFC 3339 in both encodings.
type msgpackEvent struct {
	ID          string            `json:"id"`
	Account     string            `json:"account,omitempty"`
	Entities    []string          `json:"entities,omitempty"`
	Key         string            `json:"key,omitempty"`
	Usage       Usage             `json:"usage"`
	Model       string            `json:"model,omitempty"`
	ServiceTier string            `json:"service_tier,omitempty"`
	Member      string            `json:"member,omitempty"`
	At          string            `json:"at,omitempty"`
	Reservation string            `json:"reservation,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

// EncodeMsgpack writes the event with its time as RFC 3339 text.
func (e Event) EncodeMsgpack(enc *msgpack.Encoder) error {
	at := ""
	if !e.At.IsZero() {
		at = e.At.Format(time.RFC3339Nano)
	}
	return enc.Encode(msgpackEvent{
		ID: e.ID, Account: e.Account, Entities: e.Entities, Key: e.Key, Usage: e.Usage, Model: e.Model, ServiceTier: e.ServiceTier,
		Member: e.Member, At: at, Reservation: e.Reservation, Metadata: e.Metadata,
	})
}
