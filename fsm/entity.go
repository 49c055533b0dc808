package fsm

// Account is a tenant. Its id is also the id of its root entity.
type Account struct {
	ID        string `msgpack:"id"`
	Name      string `msgpack:"name"`
	Frozen    bool   `msgpack:"frozen,omitempty"`
	Timezone  string `msgpack:"timezone,omitempty"` // that its usage is summed in; an IANA name, empty is UTC
	CreatedAt int64  `msgpack:"created_at"`         // Unix milliseconds, as every time in this package
	UpdatedAt int64  `msgpack:"updated_at"`
}

// Zone returns the name of the account's time zone.
func (a *Account) Zone() string {
	if a.Timezone == "" {
		return "UTC"
	}
	return a.Timezone
}

// EntityType is a kind of node in the tree, defined once for the cluster.
type EntityType struct {
	ID      string   `msgpack:"id"`
	Name    string   `msgpack:"name"`
	Parents []string `msgpack:"parents,omitempty"` // types it may hang under; empty: any
}

// TypeAccount is the built-in type of an account's root entity. It cannot be redefined.
const TypeAccount = "account"

// Entity is a node of an account's tree. The root has the account's id, the
// type TypeAccount and no parent.
type Entity struct {
	Account  string            `msgpack:"account"`
	ID       string            `msgpack:"id"`
	Type     string            `msgpack:"type"`
	Parent   string            `msgpack:"parent,omitempty"`
	Name     string            `msgpack:"name,omitempty"`
	Metadata map[string]string `msgpack:"metadata,omitempty"`
	Archived bool              `msgpack:"archived,omitempty"` // by its own archive call or an ancestor's
	// ArchivedBy is the entity whose archive call took this one along; it alone
	// brings it back. Empty unless Archived.
	ArchivedBy string `msgpack:"archived_by,omitempty"`
	CreatedAt  int64  `msgpack:"created_at"`
	UpdatedAt  int64  `msgpack:"updated_at"`
}

// Capability is something metered. Amounts are integers in its smallest unit:
// 10^Decimals of them make one Unit.
type Capability struct {
	ID       string `msgpack:"id"`
	Unit     string `msgpack:"unit"`
	Decimals uint8  `msgpack:"decimals"`
	Builtin  bool   `msgpack:"builtin,omitempty"`
}

// The built-in capabilities.
const (
	CapRequests     = "requests"
	CapInputTokens  = "input_tokens"
	CapOutputTokens = "output_tokens"
	CapCachedTokens = "cached_tokens" // the part of input_tokens read from a cache
	CapTokens       = "tokens"        // derived as input + output when not given
	CapUSD          = "usd"           // nano-dollars
)

// Builtins returns the capabilities every cluster is born with, in the order they are listed.
func Builtins() []Capability {
	return []Capability{
		{ID: CapRequests, Unit: "request", Builtin: true},
		{ID: CapInputTokens, Unit: "token", Builtin: true},
		{ID: CapOutputTokens, Unit: "token", Builtin: true},
		{ID: CapCachedTokens, Unit: "token", Builtin: true},
		{ID: CapTokens, Unit: "token", Builtin: true},
		{ID: CapUSD, Unit: "USD", Decimals: 9, Builtin: true},
	}
}
